"""A manifest to start from: a few rows that a model can render, with every column explained."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import csv

from farm.errors import UsageError
from farm.models import Card
from farm.normalise import FIELD_NEEDS
from farm.request import FIELDS

COLUMN_NOTES = {
    "prompt": "what the clip shows (required, at most 8 KiB)",
    "id": "your name for the clip; of rows with one id the first stands",
    "negative_prompt": "what to keep away from; empty for nothing",
    "seed": "the same seed gives the same clip; without one, repeated rows are variations",
    "width": "pixels",
    "height": "pixels",
    "num_frames": "4n+1",
    "fps": "frames per second at which the clip plays",
    "num_inference_steps": "more steps, more detail, more time",
    "guidance_scale": "how closely to follow the prompt",
    "guidance_high": "guidance of the high-noise expert, for models with two",
    "guidance_low": "guidance of the low-noise expert",
    "shift": "moves the steps towards high noise",
    "solver": "unipc or euler",
    "image": "URI of the first frame; relative ones stand beside the manifest",
    "last_image": "URI of the last frame",
    "video": "URI of a video to start from",
    "strength": "how far to leave that video, 0 to 1",
    "control": "URI of a control video",
    "control_kind": "depth, pose, edge or reference",
    "adapters": "list of {name or uri, scale}",
    "model": "another model than --model, for this row",
    "priority": "higher ones are rendered first",
    "tags": "map of text, carried to the results",
}
_WORLD = (
    "a red circle moving right on a black background",
    "a blue square falling on a gray background",
    "a green triangle rising on a navy background",
    "a yellow cross standing still on a brown background",
)
_PROMPTS = (
    "A lighthouse on a cliff at dusk, waves breaking below, slow push in",
    "A cat in a raincoat crosses a wet street, neon reflections, handheld camera",
    "Steam rises from a bowl of noodles on a wooden table, macro shot",
    "A hot-air balloon drifts over a valley of autumn trees, aerial view",
)


def sample_rows(card: Card, *, num_rows: int) -> list[dict[str, Any]]:
    """Rows with the card's sizes and lengths written out; what is left out is the card's default."""
    prompts, default = _WORLD if card.name == "nano" else _PROMPTS, card.defaults
    return [
        {
            "id": f"clip-{number + 1:03d}",
            "prompt": prompts[number % len(prompts)],
            "seed": number + 1 if number % 2 == 0 else None,
            "width": default.width,
            "height": default.height,
            "num_frames": default.num_frames,
            "num_inference_steps": default.num_inference_steps,
            "guidance_scale": default.guidance_high if card.dims.num_experts == 1 else None,
            "tags": {"take": str(number // len(prompts) + 1)},
        }
        for number in range(num_rows)
    ]


def usable_columns(card: Card) -> dict[str, str]:
    """The columns that mean something to a model, with what they mean."""
    return {name: COLUMN_NOTES[name] for name in FIELDS if FIELD_NEEDS.get(name, card.modes[0]) in card.modes}


def write_sample_manifest(path: Path, card: Card, *, num_rows: int = 8) -> None:
    """Write the sample in the format of the path's suffix; in Parquet each column carries its explanation.

    Raises:
        UsageError: the path is of no manifest format, is taken, or cannot be written.
    """
    writers = {".parquet": _write_parquet, ".jsonl": _write_jsonl, ".csv": _write_csv}
    if path.suffix not in writers:
        raise UsageError(f"{path} must end in {', '.join(writers)}")
    if num_rows < 1:
        raise UsageError(f"a manifest needs at least one row, not {num_rows}")
    if path.exists():
        raise UsageError(f"{path} is there already: remove it, or give another name")
    try:
        writers[path.suffix](path, sample_rows(card, num_rows=num_rows))
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from error


def _write_parquet(path: Path, rows: list[dict[str, Any]]) -> None:
    tags = pa.map_(pa.string(), pa.string())
    inferred = pa.Table.from_pylist([{**row, "tags": None} for row in rows])
    columns = [
        pa.field(name, tags if name == "tags" else kind, metadata={"comment": COLUMN_NOTES[name]})
        for name, kind in zip(inferred.schema.names, inferred.schema.types, strict=True)
    ]
    pq.write_table(pa.Table.from_pylist(rows, schema=pa.schema(columns)), path)


def _write_jsonl(path: Path, rows: list[dict[str, Any]]) -> None:
    lines = (json.dumps({name: value for name, value in row.items() if value is not None}) for row in rows)
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")


def _write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    csv.write_csv(pa.Table.from_pylist([{**row, "tags": json.dumps(row["tags"])} for row in rows]), str(path))
