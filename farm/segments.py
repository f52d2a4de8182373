"""Segments: the clips that remain, ordered so that equal work stands together, in files of at most 10,000.

Specs wait in a spool file, not in memory, until all rows are read and their order is known.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Set
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from types import TracebackType
from typing import IO

import pyarrow as pa
import pyarrow.parquet as pq

from farm.admission import Admitted
from farm.cost import ClipCost
from farm.models import ModelRef
from farm.spec import ClipSpec

MAX_CLIPS = 10_000

SCHEMA = pa.schema(
    [
        ("clip_id", pa.string()),
        ("row", pa.int64()),  # of the first row that asks for the clip
        ("id", pa.string()),
        ("model", pa.string()),  # folder
        ("model_name", pa.string()),
        ("num_tokens", pa.int64()),
        ("seconds", pa.float64()),  # of one gang, estimated; null where nothing is known
        ("spec", pa.string()),  # ClipSpec.canonical_json()
    ]
)

# Clips of one group run on one loaded model at one shape: compiled code and memory are of use to the next.
Group = tuple[str, int, int, int, int]


def group_of(spec: ClipSpec) -> Group:
    """Model, shape and steps."""
    return (
        spec.model,
        spec.render_width * spec.render_height,
        spec.render_width,
        spec.num_frames,
        spec.num_inference_steps,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Clip:
    group: Group
    priority: int
    row: int
    id: str | None
    clip_id: str
    model: ModelRef
    cost: ClipCost
    start: int
    size_bytes: int


class Spool:
    """Collects clips in any order and gives them back as segments. A context manager: it holds a temporary file."""

    def __init__(self) -> None:
        self._clips: dict[str, _Clip] = {}
        self._end = 0
        self._file: IO[bytes] = TemporaryFile(prefix="wanfarm-plan-")  # noqa: SIM115 - closed by __exit__

    def __enter__(self) -> Spool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    @property
    def clip_ids(self) -> Set[str]:
        """The clips held."""
        return self._clips.keys()

    def add(self, admitted: Admitted, cost: ClipCost) -> None:
        """Take a clip in; one that is held already stays as it is."""
        if admitted.clip_id in self._clips:
            return
        text = admitted.spec.canonical_json().encode()
        self._file.write(text)
        self._clips[admitted.clip_id] = _Clip(
            group=group_of(admitted.spec),
            priority=admitted.request.priority or 0,
            row=admitted.raw.row,
            id=admitted.request.id,
            clip_id=admitted.clip_id,
            model=admitted.model,
            cost=cost,
            start=self._end,
            size_bytes=len(text),
        )
        self._end += len(text)

    def drop(self, clip_ids: Set[str]) -> int:
        """Let go of those clips; how many there were."""
        there = self._clips.keys() & clip_ids
        for clip_id in there:
            del self._clips[clip_id]
        return len(there)

    def costs(self) -> Iterator[tuple[ModelRef, ClipCost]]:
        """Model and cost of each clip held."""
        return ((clip.model, clip.cost) for clip in self._clips.values())

    def write(self, folder: Path, *, seconds: Callable[[ModelRef, ClipCost], float | None]) -> list[Path]:
        """Writes the segments as part-00000.parquet and so on; a segment holds clips of one model."""
        paths = []
        for number, clips in enumerate(self._segments()):
            path = folder / f"part-{number:05d}.parquet"
            pq.write_table(self._table(clips, seconds), path, compression="zstd")
            paths.append(path)
        return paths

    def _segments(self) -> Iterator[list[_Clip]]:
        """Groups in order of their most urgent clip, clips within a group by urgency, then as the manifest has them."""
        urgency: dict[Group, int] = {}
        for clip in self._clips.values():
            urgency[clip.group] = max(clip.priority, urgency.get(clip.group, clip.priority))

        def place(clip: _Clip) -> tuple[int, Group, int, int]:
            return -urgency[clip.group], clip.group, -clip.priority, clip.row

        segment: list[_Clip] = []
        for clip in sorted(self._clips.values(), key=place):
            if segment and (len(segment) == MAX_CLIPS or clip.model != segment[0].model):
                yield segment
                segment = []
            segment.append(clip)
        if segment:
            yield segment

    def _table(self, clips: list[_Clip], seconds: Callable[[ModelRef, ClipCost], float | None]) -> pa.Table:
        columns = {
            "clip_id": [clip.clip_id for clip in clips],
            "row": [clip.row for clip in clips],
            "id": [clip.id for clip in clips],
            "model": [clip.model.path for clip in clips],
            "model_name": [clip.model.name for clip in clips],
            "num_tokens": [clip.cost.work.num_tokens for clip in clips],
            "seconds": [seconds(clip.model, clip.cost) for clip in clips],
            "spec": [self._text(clip) for clip in clips],
        }
        return pa.table(columns, schema=SCHEMA)

    def _text(self, clip: _Clip) -> str:
        self._file.seek(clip.start)
        return self._file.read(clip.size_bytes).decode()
