"""What all kinds of tests share."""

from __future__ import annotations

pytest_plugins = ["services.fixtures"]
