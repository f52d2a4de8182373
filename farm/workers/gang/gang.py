"""The leader's engine: a gang takes orders like any engine, and its ranks carry them out."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from farm.errors import RankLostError
from farm.logs import fields
from farm.media import encoder_settings
from farm.provenance import Execution
from farm.spec import ClipSpec
from farm.workers.engine import Frames, ModelPlan, Order, Unwatched, Watch
from farm.workers.gang.assignment import Assignment
from farm.workers.gang.crew import Crew
from farm.workers.gang.launch import LocalRanks, RankSet
from farm.workers.gang.messages import Ready
from farm.workers.gang.standing import State
from farm.workers.gang.timing import GangTiming, Pulse

_LOG = logging.getLogger(__name__)


class Gang:
    """A `RenderEngine`. Its ranks start with the first order, or with `start`. Not safe for several threads at once.

    Args:
        backend: "module:Class", opened by each rank.
        folder: for the error output of ranks on this host, in files without names.
        on_break: called with the class name of what broke the gang; it is built anew at the next order.
        on_state: called with what the gang does from now on; None is nothing, as there is none.
        ranks: where they run; None is on this host, or in a placement group of the gang's own.
    """

    def __init__(
        self,
        plan: ModelPlan,
        *,
        backend: str,
        folder: Path,
        timing: GangTiming | None = None,
        on_break: Callable[[str], None] | None = None,
        on_state: Callable[[State | None], None] = lambda _: None,
        ranks: RankSet | None = None,
    ) -> None:
        self._plan = plan
        self._backend = backend
        self._timing = timing or GangTiming()
        self._on_break = on_break
        self._on_state = on_state
        self._ranks = ranks or _rank_set(plan, folder, self._timing)
        self._pulse = Pulse(self._timing)
        self._crew: Crew | None = None
        self._ready: Ready | None = None
        self._assignment: Assignment | None = None
        self._num_orders = 0

    def start(self) -> None:
        """Bring the ranks up where they are not. GangStartError; UsageError where the weights do not load."""
        self._whole_crew()

    def execution(self, spec: ClipSpec, *, is_tame: bool = False) -> Execution:
        """See `RenderEngine`; starts the gang if it never ran."""
        if self._ready is None:
            self.start()
        ready = self._ready
        if ready is None:
            raise RuntimeError("a gang that is up has said how it renders")
        found = ready.tame if is_tame else ready.execution
        return found.model_copy(update={"encoder": dict(encoder_settings(spec.codec))})

    def render(self, order: Order, watch: Watch) -> Iterator[Frames]:
        """See `RenderEngine`. A clip whose frames are not taken to the end is put down, without anyone's notice."""
        crew = self._whole_crew()
        self._num_orders += 1
        self._assignment = Assignment(
            crew,
            order,
            number=self._num_orders,
            ranks=range(1 if order.is_tame else crew.size),
            pulse=self._pulse,
            timing=self._timing,
        )
        self._on_state("rendering")
        yield from self._carried_out(self._assignment, watch)

    def rebuild(self) -> None:
        """Kill what is left and start anew. GangStartError."""
        _LOG.info("gang is rebuilt")
        self._break()
        self.start()

    def close(self) -> None:
        """End the ranks, at the latest by force."""
        if self._crew is not None and self._assignment is None:
            self._crew.leave(timeout_s=self._timing.answer_s)
        self._break()
        self._ranks.close()

    def _carried_out(self, assignment: Assignment, watch: Watch) -> Iterator[Frames]:
        try:
            yield from assignment.carry_on(watch)
        except Exception as error:
            if assignment.is_broken:
                self._broken_by(type(error).__name__, str(error))
            raise
        finally:
            if assignment.is_over and self._assignment is assignment:
                self._assignment = None
                self._on_state("idle")
            elif not assignment.is_broken:
                assignment.stop()

    def _whole_crew(self) -> Crew:
        """The ranks, up and with nothing left to do."""
        if self._assignment is not None:
            with suppress(Exception):  # of a clip that nobody waits for
                for _ in self._carried_out(self._assignment, Unwatched()):
                    pass
        if self._crew is not None and (loss := self._crew.loss()) is not None:
            self._broken_by(RankLostError.__name__, loss)
        return self._crew or self._started()

    def _started(self) -> Crew:
        self._on_state("starting")
        begun_s, parallel = time.monotonic(), str(self._plan.parallel)
        _LOG.info("gang starts", extra=fields(degree=self._plan.parallel.degree, parallel=parallel))
        try:
            crew = Crew(self._ranks, self._plan, backend=self._backend, load_s=self._timing.load_s)
        except BaseException:
            self._on_state(None)
            raise
        self._crew, self._ready = crew, crew.ready
        known = {"device": crew.ready.execution.device, "seconds": round(time.monotonic() - begun_s, 3)}
        _LOG.info("gang ready", extra=fields(degree=crew.size, parallel=parallel, **known))
        self._on_state("idle")
        return crew

    def _broken_by(self, cause: str, why: str) -> None:
        _LOG.warning("gang broken", extra=fields(error_class=cause, error=why))
        self._break()
        if self._on_break is not None:
            self._on_break(cause)

    def _break(self) -> None:
        crew, self._crew, self._assignment = self._crew, None, None
        if crew is not None:
            crew.kill()
        self._on_state(None)


def _rank_set(plan: ModelPlan, folder: Path, timing: GangTiming) -> RankSet:
    if plan.parallel.num_hosts == 1:
        return LocalRanks(plan, folder=folder)
    from farm.workers.gang.hosts import HostedRanks

    return HostedRanks(plan, place_s=timing.place_s)
