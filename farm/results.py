"""The results of a run: one line per manifest row, derived from the plan and the ledger, written as Parquet.

OUT/runs/<run_id>/results/part-*.parquet; a part is replaced as a whole, and the same run has the same parts.
"""

from __future__ import annotations

import heapq
import itertools
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import pyarrow as pa
import pyarrow.parquet as pq

from farm.control import standing_stop
from farm.ledger import failed_ids, read_failure, read_records
from farm.ledger.failures import DeadLetter
from farm.ledger.parallel import map_in_order
from farm.storage import Storage

Status = Literal["committed", "failed", "rejected", "pending", "cancelled"]
Row = dict[str, Any]

SCHEMA = pa.schema(
    [
        ("row", pa.int64()),
        ("id", pa.string()),
        ("clip_id", pa.string()),
        ("status", pa.string()),
        ("uri", pa.string()),
        ("sha256", pa.string()),
        ("size_bytes", pa.int64()),
        ("width", pa.int64()),
        ("height", pa.int64()),
        ("num_frames", pa.int64()),
        ("fps", pa.int64()),
        ("seed", pa.int64()),
        ("prompt", pa.string()),
        ("seconds", pa.map_(pa.string(), pa.float64())),
        ("device_seconds", pa.float64()),
        ("cost", pa.float64()),
        ("attempts", pa.int64()),
        ("worker", pa.string()),
        ("committed_at", pa.string()),
        ("error_class", pa.string()),
        ("error", pa.string()),
        ("warnings", pa.list_(pa.string())),
        ("tags", pa.map_(pa.string(), pa.string())),
        ("kept", pa.string()),
    ]
)

# Bounds memory: the records of one part are held at once.
PART_ROWS = 50_000


@dataclass(slots=True, kw_only=True)
class Totals:
    """Sums over a run. Rows count by status; the rest counts each committed clip once, though rows may share it."""

    rows: dict[Status, int] = field(default_factory=lambda: dict.fromkeys(get_args(Status), 0))
    video_seconds: float = 0.0
    size_bytes: int = 0
    device_seconds: float = 0.0
    cost: float | None = None
    stage_seconds: dict[str, float] = field(default_factory=dict)
    errors: dict[str, int] = field(default_factory=dict)
    warnings: dict[str, int] = field(default_factory=dict)
    _seen: set[str] = field(default_factory=set, repr=False)

    @property
    def num_clips(self) -> int:
        """Distinct committed clips."""
        return len(self._seen)

    def add(self, row: Row) -> None:
        """Count one line of the results."""
        self.rows[row["status"]] += 1
        for warning in row["warnings"] or ():
            self.warnings[warning] = self.warnings.get(warning, 0) + 1
        if row["error_class"]:
            self.errors[row["error_class"]] = self.errors.get(row["error_class"], 0) + 1
        if row["status"] == "committed" and row["clip_id"] not in self._seen:
            self._seen.add(row["clip_id"])
            self._add_clip(row)

    def _add_clip(self, row: Row) -> None:
        self.video_seconds += row["num_frames"] / row["fps"]
        self.size_bytes += row["size_bytes"]
        self.device_seconds += row["device_seconds"]
        if row["cost"] is not None:
            self.cost = (self.cost or 0.0) + row["cost"]
        for stage, seconds in row["seconds"].items():
            self.stage_seconds[stage] = self.stage_seconds.get(stage, 0.0) + seconds


def write_results(out: Storage, run_id: str) -> Totals:
    """Derive the results of a planned run from rows.parquet, rejected.parquet and the ledger, and sum them up.

    May be called at any time, also of an interrupted run: what is neither committed nor failed is pending, or cancelled
    where that is what someone told the run.
    """
    stop = standing_stop(out, run_id)
    left: Status = "cancelled" if stop is not None and stop.action == "cancel" else "pending"
    folder = f"runs/{run_id}"
    admitted = _rows_of(out, f"{folder}/rows.parquet")
    rejected = (_rejected(row) for row in _rows_of(out, f"{folder}/rejected.parquet"))
    ordered = heapq.merge(admitted, rejected, key=lambda row: int(row["row"]))
    totals, number = Totals(), 0
    for number, part in enumerate(_parts(ordered)):
        lines = _with_outcomes(out, part, left=left)
        for line in lines:
            totals.add(line)
        _write_part(out, f"{folder}/results/part-{number:05d}.parquet", lines)
    _remove_after(out, f"{folder}/results", number)
    return totals


def read_results(out: Storage, run_id: str) -> Iterator[Row]:
    """The lines of a run's results as dicts (maps too), in the manifest's order."""
    for path in sorted(out.names(f"runs/{run_id}/results")):
        yield from _rows_of(out, path)


def count_statuses(out: Storage, run_id: str) -> Counter[Status] | None:
    """How many rows came to what, by a run's results; None where there are none yet."""
    paths = list(out.names(f"runs/{run_id}/results"))
    parts = (pq.read_table(pa.BufferReader(out.read(path)), columns=["status"])["status"] for path in paths)
    return Counter(itertools.chain.from_iterable(part.to_pylist() for part in parts)) if paths else None


def _rows_of(out: Storage, path: str) -> Iterator[Row]:
    file = pq.ParquetFile(pa.BufferReader(out.read(path)))
    maps = [column.name for column in file.schema_arrow if pa.types.is_map(column.type)]
    for batch in file.iter_batches(batch_size=2000):
        for row in batch.to_pylist():
            row.update({name: dict(row[name]) for name in maps if row[name] is not None})
            yield row


def _parts(rows: Iterable[Row]) -> Iterator[list[Row]]:
    """The rows in lists; a run without rows has one empty part, so that readers find its columns."""
    remaining = iter(rows)
    part = list(itertools.islice(remaining, PART_ROWS))
    while True:
        yield part
        part = list(itertools.islice(remaining, PART_ROWS))
        if not part:
            return


def _rejected(row: Row) -> Row:
    request = _prompt_of(row.get("request"))
    error = "; ".join(row["faults"])
    return {**row, "status": "rejected", "prompt": request, "error_class": "Rejected", "error": error}


def _prompt_of(request: str | None) -> str | None:
    """The prompt of a rejected row, as far as it can be made out."""
    try:
        prompt = json.loads(request or "{}").get("prompt")
    except ValueError:  # cut off where it was too long
        return None
    return prompt if isinstance(prompt, str) else None


def _with_outcomes(out: Storage, part: Sequence[Row], *, left: Status) -> list[Row]:
    ids = {row["clip_id"] for row in part if row.get("clip_id")}
    records = {record["clip_id"]: record for record in read_records(out, ids)} if ids else {}
    letters = _letters(out, ids - records.keys())
    return [_line(out, row, records=records, letters=letters, left=left) for row in part]


def _letters(out: Storage, ids: set[str]) -> Mapping[str, DeadLetter]:
    failed = sorted(ids & failed_ids(out)) if ids else []
    letters = map_in_order(lambda clip_id: read_failure(out, clip_id), failed)
    return {letter.clip_id: letter for letter in letters if letter is not None}


def _line(
    out: Storage, row: Row, *, records: Mapping[str, Row], letters: Mapping[str, DeadLetter], left: Status
) -> Row:
    clip_id = str(row.get("clip_id"))
    outcome: Row = {"status": left}
    if row.get("status") == "rejected":
        outcome = {}
    elif clip_id in records:
        outcome = _committed(out, records[clip_id])
    elif clip_id in letters:
        outcome = _failed(letters[clip_id])
    warnings = list(dict.fromkeys([*(row.get("warnings") or ()), *outcome.pop("warnings", ())]))
    line = {**row, **outcome, "warnings": warnings}
    return {name: line.get(name) for name in SCHEMA.names}


def _committed(out: Storage, record: Row) -> Row:
    video = record["video"]
    return {
        "status": "committed",
        "uri": out.uri_of(video["path"]),
        "sha256": video["sha256"],
        "size_bytes": video["size_bytes"],
        "prompt": record["spec"].get("prompt"),
        "seconds": record["timings"],
        "device_seconds": record["device_seconds"],
        "cost": record.get("cost"),
        "attempts": record["attempts"],
        "worker": record["worker"]["host"],
        "committed_at": record["committed_at"],
        "warnings": record["warnings"],
    }


def _failed(letter: DeadLetter) -> Row:
    return {
        "status": "failed",
        "prompt": letter.row.get("prompt"),
        "attempts": letter.attempts,
        "worker": letter.worker,
        "error_class": letter.error_class,
        "error": letter.message,
    }


def _write_part(out: Storage, path: str, lines: Sequence[Row]) -> None:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(list(lines), schema=SCHEMA), sink, compression="zstd")
    out.replace(path, sink.getvalue().to_pybytes())


def _remove_after(out: Storage, folder: str, number: int) -> None:
    for path in list(out.names(folder)):
        if path > f"{folder}/part-{number:05d}.parquet":
            out.delete(path)
