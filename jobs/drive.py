"""The driver's loop: pass after pass over a run's segments until no clip remains, or something says stop.

A pass that must end early always ends the same way: a drain marker below OUT makes workers put their clips down at the
next step, and whoever has not done so in time is killed. Then comes the next pass, a pause, or the end.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
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
from farm.workers.stages import EncodeStage, RenderStage, StageSetup, drain_folder, drain_path
from jobs.feed import Feed
from jobs.fleet import Layout
from jobs.pipeline import Segment, outcomes, patience_s
from jobs.progress import Display, Tally
from jobs.running import Driven
from jobs.session import Session
from jobs.signals import AGAIN, Drain
from jobs.stops import ControlWatch
from jobs.watchdog import StageActors, Watchdog

# Passes in which not one clip ended, before the run is left for a person to look at.
MAX_IDLE_PASSES = 3
LONGEST_PAUSE_S = 60.0
TICK_S = 0.25
# How long workers get to put their clips down where no signal hurries them: a step of a large clip takes a minute, and
# one that is being decoded is finished instead.
UNHURRIED_S = 600.0
# Workers that may be sick get less; the clips of the healthy ones go on where their states were kept.
SICK_S = 120.0
KILL_S = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Halt:
    """Why a pass ends early, and until when its workers may take.

    Args:
        fault: what went wrong, None where someone asked for it.
    """

    reason: str
    until_s: float
    fault: str | None = None


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
    control: ControlWatch
    tally: Tally
    display: Display
    rendered: list[Rendered] = field(default_factory=list)
    load_seconds: float = 0.0
    num_steps: int = 0
    lost_steps: int = 0
    halt: Halt | None = None

    @property
    def driven(self) -> Driven:
        """What this drive got done."""
        return Driven(
            rendered=self.rendered,
            load_seconds=self.load_seconds,
            parallel=self.layout.parallel,
            num_failed=self.tally.failed,
            num_steps=self.num_steps + self.lost_steps,
            lost_steps=self.lost_steps,
        )

    def run(self) -> None:
        """Render until nothing remains, or the run is cancelled.

        Raises:
            Interrupted: by a signal, a lost lease, a dead Ray, or because passes end without a single clip.
            UsageError: a stage found the call at fault after all (weights that do not load).
        """
        idle_passes, last_fault = 0, ""
        while True:
            self.control.wait_while_paused(note=self.display.note, check=self._check)
            if self.control.is_cancelled:
                return
            self._lift_halt()
            num_ended, is_complete, fault = self._pass()
            if is_complete:
                return
            if self.control.stop is not None:
                continue
            idle_passes = 0 if num_ended else idle_passes + 1
            last_fault = fault or last_fault
            if idle_passes >= MAX_IDLE_PASSES:
                raise Interrupted(f"{idle_passes} passes without progress: {last_fault or 'no clip ended'}")
            if fault:
                self.display.note(f"a pass ended early: {fault}")
            self._back_off(min(LONGEST_PAUSE_S, 2.0**idle_passes))

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
                return num_ended, False, self._fault_of(error)
            if self.halt is not None:
                return num_ended, num_left == num_ended, self.halt.fault or ""
        return num_ended, num_left == num_ended, ""

    def _fault_of(self, error: Exception) -> str:
        """Workers that were killed end their pass with an error of Ray's; why they were says more."""
        return str(error) if self.halt is None else self.halt.fault or ""

    def _remaining(self, path: str) -> Segment | None:
        """The segment without clips that are done or given up; None where none is left."""
        rows = pq.read_table(pa.BufferReader(self.out.read(path)))
        ids = set(rows["clip_id"].to_pylist())
        ended = committed_ids(self.out, among=ids) | (failed_ids(self.out) & ids)
        left = rows.filter(pc.invert(pc.is_in(rows["clip_id"], pa.array(sorted(ended), pa.string()))))
        return Segment(rows=left) if left.num_rows else None

    def _watched(self, segment: Segment) -> Iterator[Outcome]:
        """The segment's outcomes; between them lease, cluster, workers, signals and commands are looked after."""
        actors = StageActors((EncodeStage, RenderStage))
        watchdog = Watchdog(actors.states, num_workers=self.layout.num_workers, patience_s=patience_s(segment) + SICK_S)
        stream = outcomes(segment, self._setup(segment), layout=self.layout, num_nodes=self.session.machine.num_nodes)
        feed, begun_s = Feed(stream), time.monotonic()
        try:
            while True:
                self.session.check()
                self.lease.check()
                self._halt_if_asked(watchdog)
                if self.halt is not None and time.monotonic() > self.halt.until_s:
                    self._kill(feed, actors)
                    return
                outcome = feed.next(timeout_s=TICK_S)
                if outcome is not None:
                    watchdog.moved()
                    if outcome.status == "committed" and not self.rendered:
                        self.load_seconds = max(0.0, time.monotonic() - begun_s - self._seconds(outcome))
                    yield outcome
                elif feed.has_ended:
                    break
                self.display.tick(self.tally)
        finally:
            watchdog.close()
        if self.drain.is_asked:
            raise Interrupted(f"stopped by {self.drain.name}; {AGAIN}")

    def _halt_if_asked(self, watchdog: Watchdog) -> None:
        """Have the workers put down their clips, once, where there is a reason to."""
        if self.drain.is_over:
            raise Interrupted(f"stopped with clips in work; {AGAIN}")
        halt = self._reason_to_halt(watchdog) if self.halt is None else None
        if halt is None:
            return
        with suppress(StorageError):  # workers cannot be told now: the next tick tries again
            self.out.replace(drain_path(self.run_id, epoch=self.lease.epoch), b"")
            self.halt = halt
            self.display.note(f"{halt.reason}: clips in work are put down at their next step")

    def _reason_to_halt(self, watchdog: Watchdog) -> Halt | None:
        now_s, stop, trouble = time.monotonic(), self.control.stop, watchdog.trouble
        if self.drain.is_asked:
            return Halt(reason=self.drain.name, until_s=float("inf"))  # the drain has a clock of its own
        if stop is not None:
            return Halt(reason=str(stop), until_s=now_s + max(UNHURRIED_S, self.drain.grace_s))
        return None if trouble is None else Halt(reason=trouble, until_s=now_s + SICK_S, fault=trouble)

    def _kill(self, feed: Feed, actors: StageActors) -> None:
        """End workers that did not end by themselves; Ray Data then ends the stream."""
        self.display.note("workers that do not answer are killed")
        until_s = time.monotonic() + KILL_S
        while not feed.has_ended and time.monotonic() < until_s:
            self.session.check()
            actors.kill()  # again and again: Ray Data replaces those that had not begun
            feed.drop(timeout_s=1.0)

    def _lift_halt(self) -> None:
        """Let workers work: drop the markers of earlier drivers and of this one."""
        self.halt = None
        for marker in list(self.out.names(drain_folder(self.run_id))):
            self.out.delete(marker)

    def _seconds(self, outcome: Outcome) -> float:
        """How long the clip took its gang."""
        return outcome.device_seconds / self.layout.parallel.degree

    def _setup(self, segment: Segment) -> StageSetup:
        first: Mapping[str, Any] = segment.rows.slice(0, 1).to_pylist()[0]
        spec = ClipSpec.from_json(first["spec"])
        model = ModelPlan(
            name=first["model_name"],
            path=first["model"],
            fingerprint=spec.model,
            dtype=spec.dtype,
            device=self.layout.torch_device,
            threads=self.layout.threads,
            parallel=self.layout.parallel,
            tiles=self.layout.choice.tiles if self.layout.choice.tiles > 1 else None,
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
        self.lost_steps += outcome.lost_steps
        if outcome.status in ("skipped", "lost"):
            return 0  # whether it is done the ledger says, when the next pass looks
        self.tally.add(has_failed=outcome.status == "failed")
        if outcome.status == "failed":
            self.display.note(f"clip {outcome.clip_id} failed: {outcome.error_class}: {outcome.message}")
        if outcome.status == "committed":
            self.rendered.append(_rendered(outcome, segment))
            self.num_steps += self.rendered[-1].spec.num_inference_steps
        self.display.tick(self.tally)
        return 1

    def _back_off(self, seconds: float) -> None:
        end_s = time.monotonic() + seconds
        while time.monotonic() < end_s and self.control.stop is None:
            self._check()
            time.sleep(TICK_S)

    def _check(self) -> None:
        """Raise what ends this driver."""
        self.session.check()
        self.lease.check()
        if self.drain.is_asked:
            raise Interrupted(f"stopped by {self.drain.name}; {AGAIN}")


def _rendered(outcome: Outcome, segment: Segment) -> Rendered:
    number = pc.index(segment.rows["clip_id"], outcome.clip_id).as_py()
    row = segment.rows.slice(number, 1)
    spec = ClipSpec.from_json(row["spec"][0].as_py())
    return Rendered(spec=spec, model_name=row["model_name"][0].as_py(), outcome=outcome)
