"""The driver's loop: pass after pass over a run's segments until no clip remains, or something says stop.

What is looked after while workers work stands in `jobs.guarded`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from farm.errors import GangStartError, Interrupted, StorageError, TransientError
from farm.ledger import committed_ids, failed_ids
from farm.models import read_dims
from farm.settings import Settings
from farm.spec import ClipSpec
from farm.storage import Storage
from farm.workers.engine import WAN_BACKEND, ModelPlan
from farm.workers.gang.hosts import reap_gang_groups, within
from farm.workers.renderer import Outcome
from farm.workers.stages import AdvanceStage, EncodeStage, RenderStage, StageSetup, drain_folder
from jobs.fleet import Layout
from jobs.guarded import TICK_S, GuardedStream, Guards, Halt
from jobs.pipeline import Segment, outcomes, patience_s
from jobs.progress import Tally
from jobs.running import Driven
from jobs.watchdog import StageActors

# Passes in which not one clip ended, before the run is left for a person to look at.
MAX_IDLE_PASSES = 3
LONGEST_PAUSE_S = 60.0
REAP_S = 30.0


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
    layout: Layout
    guards: Guards
    tally: Tally
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
        try:
            self._drive()
        finally:
            if self.layout.parallel.num_hosts > 1 and not self.guards.session.is_lost:
                reap_groups()

    def _drive(self) -> None:
        idle_passes, last_fault, control = 0, "", self.guards.control
        while True:
            control.wait_while_paused(note=self._note, check=self.guards.check_idle)
            if control.is_cancelled:
                return
            self._lift_halt()
            num_ended, is_complete, fault = self._pass()
            if is_complete:
                return
            if self.halt is not None and self.halt.fault is None:
                continue  # someone said so
            idle_passes = 0 if num_ended else idle_passes + 1
            last_fault = fault or last_fault
            if idle_passes >= MAX_IDLE_PASSES:
                raise Interrupted(f"{idle_passes} passes without progress: {last_fault or 'no clip ended'}")
            if fault:
                self._note(f"a pass ended early: {fault}")
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
                for outcome in self._outcomes(segment):
                    num_ended += self._count(outcome, segment)
            except (StorageError, TransientError) as error:
                return num_ended, False, str(error)
            if self.halt is not None:
                return num_ended, False, self.halt.fault or ""
        return num_ended, num_left == num_ended, ""

    def _remaining(self, path: str) -> Segment | None:
        """The segment without clips that are done or given up; None where none is left."""
        rows = pq.read_table(pa.BufferReader(self.out.read(path)))
        ids = set(rows["clip_id"].to_pylist())
        ended = committed_ids(self.out, among=ids) | (failed_ids(self.out) & ids)
        left = rows.filter(pc.invert(pc.is_in(rows["clip_id"], pa.array(sorted(ended), pa.string()))))
        return Segment(rows=left) if left.num_rows else None

    def _outcomes(self, segment: Segment) -> Iterator[Outcome]:
        """The segment's outcomes, by workers that are looked after."""
        setup, begun_s = self._setup(segment), time.monotonic()
        guarded = GuardedStream(
            outcomes(segment, setup, layout=self.layout, machine=self.guards.session.machine),
            guards=self.guards,
            actors=StageActors((EncodeStage, AdvanceStage, RenderStage)),
            tell_workers=lambda: self.out.replace(setup.drain_path, b""),
            num_workers=self.layout.num_workers,
            patience_s=patience_s(segment),
        )
        for outcome in guarded.outcomes(tick=lambda: self.guards.display.tick(self.tally)):
            if outcome.status == "committed" and not self.rendered:
                self.load_seconds = max(0.0, time.monotonic() - begun_s - self._seconds(outcome))
            yield outcome
        self.halt = guarded.halt

    def _lift_halt(self) -> None:
        """Let workers work: drop the markers of earlier drivers and of this one, and what dead gangs hold."""
        self.halt = None
        if self.layout.parallel.num_hosts > 1:
            reap_groups()
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
            exchange=self.settings.ulysses,
            boundary=read_dims(Path(first["model"])).boundary if self.layout.choice.has_pools else None,
            tiles=self.layout.choice.tiles if self.layout.choice.tiles > 1 else None,
        )
        return StageSetup(
            storage=self.out,
            settings=self.settings,
            backend=self.settings.engine or WAN_BACKEND,
            model=model,
            run_id=self.run_id,
            epoch=self.guards.lease.epoch,
        )

    def _count(self, outcome: Outcome, segment: Segment) -> int:
        """1 for a clip that ended, 0 for one that was passed over."""
        self.lost_steps += outcome.lost_steps
        if outcome.status in ("skipped", "lost"):
            return 0  # whether it is done the ledger says, when the next pass looks
        self.tally.add(has_failed=outcome.status == "failed")
        if outcome.status == "failed":
            self._note(f"clip {outcome.clip_id} failed: {outcome.error_class}: {outcome.message}")
        if outcome.status == "committed":
            self.rendered.append(_rendered(outcome, segment))
            self.num_steps += self.rendered[-1].spec.num_inference_steps
        self.guards.display.tick(self.tally)
        return 1

    def _back_off(self, seconds: float) -> None:
        end_s = time.monotonic() + seconds
        while time.monotonic() < end_s and self.guards.control.stop is None:
            self.guards.check_idle()
            time.sleep(TICK_S)

    def _note(self, text: str) -> None:
        self.guards.display.note(text)


def reap_groups() -> None:
    """Remove the placement groups of gangs whose leaders are gone: what they hold the next leaders wait for."""
    with suppress(GangStartError):  # Ray does not answer, and the session will find out
        within(REAP_S, reap_gang_groups)


def _rendered(outcome: Outcome, segment: Segment) -> Rendered:
    number = pc.index(segment.rows["clip_id"], outcome.clip_id).as_py()
    row = segment.rows.slice(number, 1)
    spec = ClipSpec.from_json(row["spec"][0].as_py())
    return Rendered(spec=spec, model_name=row["model_name"][0].as_py(), outcome=outcome)
