"""What travels from stage to stage and to the driver: states of prompts and outcomes, as columns of a clip's row."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import pyarrow as pa

from farm.errors import TextError
from farm.provenance import Stint
from farm.workers.engine import ClipText
from farm.workers.making import Spent
from farm.workers.work import Outcome

SCHEMA = pa.schema(
    [
        ("clip_id", pa.string()),
        ("status", pa.string()),
        ("device", pa.string()),
        ("device_seconds", pa.float64()),
        ("timings", pa.string()),  # JSON
        ("error_class", pa.string()),
        ("message", pa.string()),
        ("lost_steps", pa.int64()),
        ("num_resumes", pa.int64()),
        ("stint", pa.string()),  # JSON
    ]
)

COLUMN = "outcome"
"""Of a clip's row, once gangs of the high-noise expert had it: what it came to there, as JSON."""


def with_text(row: pa.Table, text: ClipText | TextError) -> pa.Table:
    """A clip's row with the states of its prompts, or with why it has none."""
    fault = str(text) if isinstance(text, TextError) else None
    positive, negative = (None, None) if isinstance(text, TextError) else (text.positive, text.negative)
    return (
        row.append_column("positive", pa.array([positive], pa.large_binary()))
        .append_column("negative", pa.array([negative], pa.large_binary()))
        .append_column("text_fault", pa.array([fault], pa.string()))
    )


def text_in(row: dict[str, Any]) -> ClipText | TextError:
    """The inverse of `with_text`."""
    fault = row["text_fault"]
    return ClipText(positive=row["positive"], negative=row["negative"]) if fault is None else TextError(fault)


def outcome_row(outcome: Outcome) -> dict[str, Any]:
    """An outcome as a row of `SCHEMA`."""
    stint = None if outcome.stint is None else outcome.stint.model_dump_json()
    return asdict(outcome) | {"timings": json.dumps(outcome.timings), "stint": stint}


def outcome_of(row: dict[str, Any]) -> Outcome:
    """The inverse of `outcome_row`."""
    stint = None if row["stint"] is None else Stint.model_validate_json(row["stint"])
    return Outcome(**(row | {"timings": json.loads(row["timings"]), "stint": stint}))


def outcome_table(outcome: Outcome) -> pa.Table:
    """A table of one row."""
    return pa.Table.from_pylist([outcome_row(outcome)], schema=SCHEMA)


def with_outcome(row: pa.Table, outcome: Outcome) -> pa.Table:
    """A clip's row with its column."""
    return row.append_column(COLUMN, pa.array([json.dumps(outcome_row(outcome))], pa.string()))


def outcome_in(row: dict[str, Any]) -> Outcome | None:
    """What stands in a clip's row, None where no other gang had it."""
    return outcome_of(json.loads(row[COLUMN])) if COLUMN in row else None


def spent_on(outcome: Outcome | None) -> Spent | None:
    """What a clip that was handed over has cost, None where nothing was spent on it now."""
    if outcome is None or not outcome.device:
        return None
    return Spent(
        device_seconds=outcome.device_seconds,
        timings=outcome.timings,
        lost_steps=outcome.lost_steps,
        num_resumes=outcome.num_resumes,
        stint=outcome.stint,
    )
