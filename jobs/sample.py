"""`wanfarm sample-manifest`."""

from __future__ import annotations

from pathlib import Path

from farm.models import CARDS, resolve_model
from farm.sample_manifest import usable_columns, write_sample_manifest
from farm.settings import Settings
from jobs.printing import aligned, say


def write_sample(path: str, *, model: str, num_rows: int) -> int:
    """0. UsageError for a file that is there already, or of no known format."""
    card = CARDS[model] if model in CARDS else resolve_model(model, Settings.from_env()).card
    write_sample_manifest(Path(path), card, num_rows=num_rows)
    say([f"{path}: {num_rows} rows for {card.name}. Columns it takes:", *aligned(list(usable_columns(card).items()))])
    return 0
