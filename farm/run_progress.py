"""How far the batch runs of an output are, from what lies in storage alone: for the command, the API and the page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from farm.control import Command, standing_stop
from farm.errors import NotFoundError
from farm.layout import CLIPS, RECORD_SUFFIX, clip_id_of, run_folder
from farm.ledger import RunLease, committed_ids, failed_ids
from farm.ledger.holder import Holder
from farm.run_facts import RunCard, read_card, read_cards
from farm.storage import Storage

RunState = Literal["running", "paused", "cancelled", "interrupted", "ended"]

# A running run's speed is that of its last ten minutes.
RATE_OVER_S = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RunProgress:
    """One run.

    Args:
        state: paused and cancelled are what someone wished; the rest is what can be seen.
        stop: who wished it.
        driver: the process that drives it now.
        begun_s, ended_s: seconds since the epoch; since when its driver is at it, or when it was last begun.
        clips_per_minute: of the last minutes, None where it does not run or has made nothing in them.
    """

    card: RunCard
    state: RunState
    stop: Command | None
    driver: Holder | None
    num_clips: int
    num_done: int
    num_failed: int
    begun_s: float | None
    ended_s: float | None
    clips_per_minute: float | None

    @property
    def num_pending(self) -> int:
        return self.num_clips - self.num_done - self.num_failed

    @property
    def eta_s(self) -> float | None:
        """Seconds until all is done at the present speed."""
        return 60.0 * self.num_pending / self.clips_per_minute if self.clips_per_minute else None


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputProgress:
    """An output's clips, over all runs and jobs, and its runs."""

    num_committed: int
    num_failed: int
    runs: tuple[RunProgress, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """What a run's results add up to. `cost` is None where nothing has a price."""

    device_seconds: float
    cost: float | None


def read_progress(out: Storage, *, run_id: str | None = None) -> OutputProgress:
    """All runs of an output, or one of them: lists the ledger once, and reads each run's rows."""
    committed, failed = committed_ids(out), failed_ids(out)
    found = [_progress(out, card, committed=committed, failed=failed) for card in _cards(out, run_id)]
    if any(run.state == "running" for run in found):
        found = list(_with_speed(out, found))
    return OutputProgress(num_committed=len(committed), num_failed=len(failed - committed), runs=tuple(found))


def read_spent(out: Storage, run_id: str) -> Spent | None:
    """What a run took, by its results; None where there are none yet."""
    seconds, cost, has_cost = 0.0, 0.0, False
    paths = sorted(out.names(f"{run_folder(run_id)}/results"))
    for path in paths:
        table = pq.read_table(pa.BufferReader(out.read(path)), columns=["device_seconds", "cost"])
        seconds += pc.sum(table["device_seconds"]).as_py() or 0.0
        part = pc.sum(table["cost"]).as_py()
        cost, has_cost = cost + (part or 0.0), has_cost or part is not None
    return Spent(device_seconds=seconds, cost=cost if has_cost else None) if paths else None


def _cards(out: Storage, run_id: str | None) -> Iterator[RunCard]:
    if run_id is None:
        yield from read_cards(out)
    elif (card := read_card(out, run_id)) is not None:
        yield card


def _progress(out: Storage, card: RunCard, *, committed: set[str], failed: set[str]) -> RunProgress:
    clips = _clip_ids(out, card.run_id)
    done = clips & committed
    given_up = (clips - done) & failed
    has_left = len(done) + len(given_up) < len(clips)
    driver, stop = RunLease(out, card.run_id).held_by(), standing_stop(out, card.run_id)
    state = _state(stop, has_left=has_left, is_driven=driver is not None)
    return RunProgress(
        card=card,
        state=state,
        stop=stop,
        driver=driver,
        num_clips=len(clips),
        num_done=len(done),
        num_failed=len(given_up),
        begun_s=driver.since_s if driver is not None else _mtime(out, f"{run_folder(card.run_id)}/run.json"),
        ended_s=_mtime(out, f"{run_folder(card.run_id)}/results/part-00000.parquet") if state == "ended" else None,
        clips_per_minute=None,
    )


def _with_speed(out: Storage, runs: list[RunProgress]) -> Iterator[RunProgress]:
    """The running ones with how fast they go, by the times of their clips' records."""
    made = _made_lately(out)
    for run in runs:
        times = [made[clip_id] for clip_id in _clip_ids(out, run.card.run_id) & made.keys()]
        times = [at_s for at_s in times if run.begun_s is None or at_s >= run.begun_s]
        if run.state == "running" and times and run.begun_s is not None:
            span_s = max(times) - max(run.begun_s, max(times) - RATE_OVER_S)
            speed = 60.0 * len(times) / span_s if span_s > 0 else None
            yield replace(run, clips_per_minute=speed)
        else:
            yield run


def _made_lately(out: Storage) -> Mapping[str, float]:
    """When each clip of the last minutes was committed."""
    since_s = out.now() - RATE_OVER_S
    entries = (entry for entry in out.list(CLIPS) if entry.path.endswith(RECORD_SUFFIX) and entry.mtime_s >= since_s)
    return {clip_id_of(entry.path): entry.mtime_s for entry in entries}


def _state(stop: Command | None, *, has_left: bool, is_driven: bool) -> RunState:
    if stop is not None:
        return "paused" if stop.action == "pause" else "cancelled"
    if is_driven:
        return "running"
    return "interrupted" if has_left else "ended"


def _clip_ids(out: Storage, run_id: str) -> set[str]:
    try:
        data = out.read(f"{run_folder(run_id)}/rows.parquet")
    except NotFoundError:
        return set()
    return set(pq.read_table(pa.BufferReader(data), columns=["clip_id"])["clip_id"].to_pylist())


def _mtime(out: Storage, path: str) -> float | None:
    entry = out.stat(path)
    return None if entry is None else entry.mtime_s
