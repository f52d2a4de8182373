"""The driver's loop: pass after pass over a run's segments until no clip remains, or something says stop."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from farm.errors import Interrupted, StorageError, TransientError
from farm.ledger import RunLease, committed_ids, failed_ids
from farm.settings import Settings
from farm.spec import ClipSpec
from farm.storage import Storage
from farm.workers.engine import WAN_BACKEND, ModelPlan
from farm.workers.renderer import Outcome
from farm.workers.stages import StageSetup, drain_folder, drain_path
from jobs.fleet import Layout
from jobs.pipeline import Segment, outcomes
from jobs.progress import Display, Tally
from jobs.session import Session
from jobs.signals import AGAIN, Drain

# Passes in which not one clip ended, before the run is left for a person to look at.
MAX_IDLE_PASSES = 3
LONGEST_PAUSE_S = 60.0
TICK_S = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendered:
    """A clip that this drive rendered, with its spec."""

    spec: ClipSpec
    model_name: str
    outcome: Outcome


@dataclass(slots=True, kw_only=True)
class Drive:
    """One driver's work on one run.

    `rendered` grows by what was committed, `load_seconds` is how long the first clip waited for its worker: both feed
    the calibration.
    """

    out: Storage
    run_id: str
    segments: Sequence[str]
    settings: Settings
    session: Session
    layout: Layout
    lease: RunLease
    drain: Drain
    tally: Tally
    display: Display
    rendered: list[Rendered] = field(default_factory=list)
    load_seconds: float = 0.0

    def run(self) -> None:
        """Render until nothing remains.

        Raises:
            Interrupted: by a signal, a lost lease, a dead Ray, or because passes end without a single clip.
            UsageError: a stage found the call at fault after all (weights that do not load).
        """
        for marker in list(self.out.names(drain_folder(self.run_id))):
            self.out.delete(marker)  # of drivers before this one
        idle_passes, last_fault = 0, ""
        while True:
            num_ended, is_complete, fault = self._pass()
            if is_complete:
                return
            idle_passes = 0 if num_ended else idle_passes + 1
            last_fault = fault or last_fault
            if idle_passes >= MAX_IDLE_PASSES:
                raise Interrupted(f"{idle_passes} passes without progress: {last_fault or 'no clip ended'}")
            if fault:
                self.display.note(f"a pass ended early: {fault}")
            self._pause(min(LONGEST_PAUSE_S, 2.0**idle_passes))

    def _pass(self) -> tuple[int, bool, str]:
        """Every segment once: clips that ended, whether none remains, and the fault that cut the pass short."""
        num_ended, num_left = 0, 0
        for path in self.segments:
            segment = self._remaining(path)
            if segment is None:
                continue
            num_left += segment.rows.num_rows
            try:
                for outcome in self._watched(segment):
                    num_ended += self._count(outcome, segment)
            except (StorageError, TransientError) as error:
                return num_ended, False, str(error)
        return num_ended, num_left == num_ended, ""

    def _remaining(self, path: str) -> Segment | None:
        """The segment without clips that are done or given up; None where none is left."""
        rows = pq.read_table(pa.BufferReader(self.out.read(path)))
        ids = set(rows["clip_id"].to_pylist())
        ended = committed_ids(self.out, among=ids) | (failed_ids(self.out) & ids)
        left = rows.filter(pc.invert(pc.is_in(rows["clip_id"], pa.array(sorted(ended), pa.string()))))
        return Segment(rows=left) if left.num_rows else None

    def _watched(self, segment: Segment) -> Iterator[Outcome]:
        """The segment's outcomes; between them lease, cluster and signals are looked after."""
        feed = _Feed(segment, self._setup(segment), self.layout, num_nodes=self.session.machine.num_nodes)
        begun_s, is_draining = time.monotonic(), False
        while True:
            self.session.check()
            self.lease.check()
            if self.drain.is_asked and not is_draining:
                self.out.replace(drain_path(self.run_id, epoch=self.lease.epoch), b"")
                self.display.note(f"{self.drain.name}: finishing clips in work, then stopping")
                is_draining = True
            if self.drain.is_over:
                raise Interrupted(f"stopped with clips in work; {AGAIN}")
            outcome = feed.next(timeout_s=TICK_S)
            if outcome is not None:
                if outcome.status == "committed" and not self.rendered:
                    self.load_seconds = max(0.0, time.monotonic() - begun_s - outcome.device_seconds)
                yield outcome
            elif feed.has_ended:
                break
            self.display.tick(self.tally)
        if is_draining:
            raise Interrupted(f"stopped by {self.drain.name}; {AGAIN}")

    def _setup(self, segment: Segment) -> StageSetup:
        first: Mapping[str, Any] = segment.rows.slice(0, 1).to_pylist()[0]
        spec = ClipSpec.from_json(first["spec"])
        model = ModelPlan(
            name=first["model_name"],
            path=first["model"],
            fingerprint=spec.model,
            dtype=spec.dtype,
            device="cuda" if self.layout.gpus_per_worker else "cpu",
            threads=self.layout.threads,
        )
        return StageSetup(
            storage=self.out,
            settings=self.settings,
            backend=self.settings.engine or WAN_BACKEND,
            model=model,
            run_id=self.run_id,
            epoch=self.lease.epoch,
        )

    def _count(self, outcome: Outcome, segment: Segment) -> int:
        """1 for a clip that ended, 0 for one that was passed over."""
        if outcome.status == "skipped":
            return 0
        self.tally.add(has_failed=outcome.status == "failed")
        if outcome.status == "failed":
            self.display.note(f"clip {outcome.clip_id} failed: {outcome.error_class}: {outcome.message}")
        if outcome.status == "committed":
            self.rendered.append(_rendered(outcome, segment))
        self.display.tick(self.tally)
        return 1

    def _pause(self, seconds: float) -> None:
        end_s = time.monotonic() + seconds
        while time.monotonic() < end_s:
            self.session.check()
            self.lease.check()
            if self.drain.is_asked:
                raise Interrupted(f"stopped by {self.drain.name}; {AGAIN}")
            time.sleep(TICK_S)


class _Feed:
    """Outcomes of a segment from a thread of its own: under a dying Ray its calls may never return."""

    def __init__(self, segment: Segment, setup: StageSetup, layout: Layout, *, num_nodes: int) -> None:
        self._queue: queue.Queue[Outcome | None] = queue.Queue()
        self._error: BaseException | None = None
        self.has_ended = False
        stream = outcomes(segment, setup, layout=layout, num_nodes=num_nodes)
        threading.Thread(target=self._run, args=(stream,), name="ray-data", daemon=True).start()

    def next(self, *, timeout_s: float) -> Outcome | None:
        """The next outcome, None if there is none yet or, with `has_ended`, ever. Raises what the stages raised."""
        try:
            outcome = self._queue.get(timeout=timeout_s)
        except queue.Empty:
            return None
        if outcome is None:
            self.has_ended = True
            if self._error is not None:
                raise self._error
        return outcome

    def _run(self, stream: Iterator[Outcome]) -> None:
        try:
            for outcome in stream:
                self._queue.put(outcome)
        except BaseException as error:  # the boundary of this thread: raised again by `next`
            self._error = error
        self._queue.put(None)


def _rendered(outcome: Outcome, segment: Segment) -> Rendered:
    number = pc.index(segment.rows["clip_id"], outcome.clip_id).as_py()
    row = segment.rows.slice(number, 1)
    spec = ClipSpec.from_json(row["spec"][0].as_py())
    return Rendered(spec=spec, model_name=row["model_name"][0].as_py(), outcome=outcome)
