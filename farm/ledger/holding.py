"""Who holds a clip: jobs by their refs, runs by their plans."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from farm.errors import NotFoundError
from farm.layout import RUNS, rows_path
from farm.ledger.parallel import map_in_order
from farm.ledger.refs import holders_of
from farm.storage.base import Storage

_PREFIX_CHARS = 16


class Holders:
    """Answers for one output. Remembers what runs have planned: 8 bytes for each row.

    A question costs the listing of the clip's refs; where there are none, the listing of the runs and a look at the
    plan of each, 16 at once; a plan is read when it is new or was written anew.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._plans: dict[str, tuple[float, int, np.ndarray]] = {}

    def is_held(self, clip_id: str) -> bool:
        """Whether anybody wants the clip kept."""
        return bool(holders_of(self._storage, clip_id)) or next(self.runs_with(clip_id), None) is not None

    def runs_with(self, clip_id: str) -> Iterator[str]:
        """The runs whose plans list the clip. Of two clips with equal halves of their ids it may name the other's."""
        wanted = _numbers([clip_id])[0]
        runs = self._storage.folders(RUNS)
        for run_id, plan in zip(runs, map_in_order(self._plan, runs), strict=True):
            place = int(np.searchsorted(plan, wanted))
            if place < len(plan) and plan[place] == wanted:
                yield run_id

    def _plan(self, run_id: str) -> np.ndarray:
        entry = self._storage.stat(rows_path(run_id))
        if entry is None:
            return _numbers([])
        known = self._plans.get(run_id)
        if known is not None and known[:2] == (entry.mtime_s, entry.size_bytes):
            return known[2]
        plan = self._read(run_id)
        self._plans[run_id] = (entry.mtime_s, entry.size_bytes, plan)
        return plan

    def _read(self, run_id: str) -> np.ndarray:
        try:
            data = self._storage.read(rows_path(run_id))
        except NotFoundError:
            return _numbers([])
        column = pq.read_table(pa.BufferReader(data), columns=["clip_id"])["clip_id"]
        return np.unique(_numbers(column.to_pylist()))


def _numbers(clip_ids: list[str]) -> np.ndarray:
    """The first half of each id as a number: a million of them are 8 MB, and compare fast."""
    return np.array([int(clip_id[:_PREFIX_CHARS], 16) for clip_id in clip_ids], dtype=np.uint64)
