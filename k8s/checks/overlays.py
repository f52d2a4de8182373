"""The overlays of this project."""

from __future__ import annotations

from pathlib import Path

HERE = Path(__file__).parents[1]
OVERLAYS = tuple(sorted(found.parent for found in (HERE / "overlays").glob("*/*/kustomization.yaml")))
WEIGHTS = HERE / "weights"
