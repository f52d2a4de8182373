"""The two files that tell what became of each row of a manifest: admitted (rows.parquet) or rejected."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from farm.admission import Admitted, Rejected
from farm.local_disk import local_disk

NUM_SHOWN = 20
MAX_REQUEST_CHARS = 4096

ADMITTED_SCHEMA = pa.schema(
    [
        ("row", pa.int64()),
        ("id", pa.string()),
        ("clip_id", pa.string()),
        ("model_name", pa.string()),
        ("seed", pa.int64()),
        ("width", pa.int64()),
        ("height", pa.int64()),
        ("num_frames", pa.int64()),
        ("fps", pa.int64()),
        ("priority", pa.int64()),
        ("warnings", pa.list_(pa.string())),
        ("tags", pa.map_(pa.string(), pa.string())),
        ("kept", pa.string()),  # unknown columns, as a JSON object
    ]
)
REJECTED_SCHEMA = pa.schema(
    [
        ("row", pa.int64()),
        ("id", pa.string()),
        ("faults", pa.list_(pa.string())),
        ("request", pa.string()),  # the row as JSON, cut where it is long
        ("kept", pa.string()),
    ]
)


class RowFiles:
    """Writes both files batch by batch into a local folder, and keeps count."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.admitted_path = folder / "rows.parquet"
        self.rejected_path = folder / "rejected.parquet"
        self.num_admitted = 0
        self.num_rejected = 0
        self.warnings: Counter[str] = Counter()
        self.first_rejected: list[tuple[int, str | None, tuple[str, ...]]] = []
        self._admitted: list[dict[str, Any]] = []
        self._rejected: list[dict[str, Any]] = []
        with local_disk("write in", folder):
            self._writers = (
                pq.ParquetWriter(self.admitted_path, ADMITTED_SCHEMA, compression="zstd"),
                pq.ParquetWriter(self.rejected_path, REJECTED_SCHEMA, compression="zstd"),
            )

    def __enter__(self) -> RowFiles:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def add(self, verdict: Admitted | Rejected) -> None:
        """Note what became of one row."""
        if isinstance(verdict, Admitted):
            self.num_admitted += 1
            self.warnings.update(verdict.warnings)
            self._admitted.append(_admitted_row(verdict))
            return
        self.num_rejected += 1
        if len(self.first_rejected) < NUM_SHOWN:
            self.first_rejected.append((verdict.raw.row, verdict.id, tuple(verdict.faults)))
        self._rejected.append(_rejected_row(verdict))

    def flush(self) -> None:
        """Move what was noted from memory to the files."""
        with local_disk("write in", self.folder):
            for writer, rows in zip(self._writers, (self._admitted, self._rejected), strict=True):
                if rows:
                    writer.write_table(pa.Table.from_pylist(rows, schema=writer.schema))
                rows.clear()

    def close(self) -> None:
        """Finish both files; they may be without rows."""
        self.flush()
        with local_disk("write in", self.folder):
            for writer in self._writers:
                writer.close()


def _admitted_row(clip: Admitted) -> dict[str, Any]:
    return {
        "row": clip.raw.row,
        "id": clip.request.id,
        "clip_id": clip.clip_id,
        "model_name": clip.model.name,
        "seed": clip.spec.seed,
        "width": clip.spec.width,
        "height": clip.spec.height,
        "num_frames": clip.spec.num_frames,
        "fps": clip.spec.fps,
        "priority": clip.request.priority,
        "warnings": clip.warnings,
        "tags": list(clip.request.tags.items()) if clip.request.tags else None,
        "kept": _json(clip.raw.kept),
    }


def _rejected_row(row: Rejected) -> dict[str, Any]:
    return {
        "row": row.raw.row,
        "id": row.id,
        "faults": row.faults,
        "request": (_json(row.raw.values) or "")[:MAX_REQUEST_CHARS] or None,
        "kept": _json(row.raw.kept),
    }


def _json(values: dict[str, object] | None) -> str | None:
    """Values of any type that a file can hold; dates and the like become text."""
    return json.dumps(values, default=str, ensure_ascii=False) if values else None
