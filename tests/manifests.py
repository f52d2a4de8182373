"""Writes manifests in every format, and reads, refuses and plans them for the nano model."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from farm.errors import ManifestError
from farm.files import Files
from farm.manifest import RawRow, open_manifest
from farm.models import NANO_CARD, ModelRef
from farm.plan import Plan, plan_run
from farm.settings import Settings
from farm.spec import RenderOptions

NANO = ModelRef(name="nano", path="/models/nano", card=NANO_CARD, fingerprint="f" * 64)
FULL: dict[str, Any] = {
    "prompt": "a red, round circle\nmoving", "id": "one", "negative_prompt": "ugly", "seed": 5, "width": 64,
    "height": 64, "num_frames": 17, "fps": 8, "num_inference_steps": 20, "guidance_scale": 3.5, "shift": 3.0,
    "solver": "euler", "priority": 2, "tags": {"a": "b"},
}  # fmt: skip


def write(path: Path, rows: list[dict[str, Any]]) -> str:
    """Rows in the format of the path's suffix."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    if path.suffix == ".parquet":
        types = {"tags": pa.map_(pa.string(), pa.string())}
        columns = {name: pa.array([row.get(name) for row in rows], types.get(name)) for name in names}
        pq.write_table(pa.table(columns), path)
    elif path.suffix == ".csv":
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, names)
            writer.writeheader()
            for row in rows:
                writer.writerow({key: json.dumps(value) if isinstance(value, dict | list) else value
                                 for key, value in row.items()})  # fmt: skip
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def read(uri: str, settings: Settings, *, keep_columns: bool = False) -> list[RawRow]:
    with open_manifest(uri, Files(settings), keep_columns=keep_columns) as manifest:
        return [row for batch in manifest.batches() for row in batch.rows]


def refusal(uri: str | Path, settings: Settings) -> str:
    with pytest.raises(ManifestError) as caught:
        read(str(uri), settings)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def plan(uri: str, settings: Settings, **flags: Any) -> Plan:
    return plan_run(uri, model=NANO, options=RenderOptions(), settings=settings, **flags)


def faults(uri: str, settings: Settings) -> dict[int, tuple[str, ...]]:
    return {row: found for row, _, found in plan(uri, settings).rejected}
