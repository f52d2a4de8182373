"""Fixtures of the farm under test."""

from __future__ import annotations

from e2e_fixtures import fake_model, farm

__all__ = ["fake_model", "farm"]
