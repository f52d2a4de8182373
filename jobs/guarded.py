"""A stream of outcomes, and all that its driver looks after meanwhile: lease, cluster, workers, signals, commands.

A stream that must end early always ends the same way: a drain marker below OUT makes workers put their clips down at
the next step, and whoever has not done so in time is killed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass

from farm.errors import Interrupted, StorageError, TransientError
from farm.ledger import RunLease
from farm.workers.renderer import Outcome
from jobs.feed import Feed
from jobs.progress import Display
from jobs.session import Session
from jobs.signals import AGAIN, Drain
from jobs.stops import ControlWatch
from jobs.watchdog import StageActors, Watchdog

TICK_S = 0.25
# How long workers get to put their clips down where no signal hurries them: a step of a large clip takes a minute, and
# one that is being decoded is finished instead.
UNHURRIED_S = 600.0
# Workers that may be sick get less; the clips of the healthy ones go on where their states were kept.
SICK_S = 120.0
KILL_S = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Halt:
    """Why a stream ends early, and until when its workers may take. `fault` is None where someone asked for it."""

    reason: str
    until_s: float
    fault: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Guards:
    """Whatever may end a driver's work, or hold it up."""

    session: Session
    lease: RunLease
    drain: Drain
    control: ControlWatch
    display: Display

    def check(self) -> None:
        """Raise where the cluster or the run is lost."""
        self.session.check()
        self.lease.check()

    def check_idle(self) -> None:
        """The same, and where a signal came: for times at which no clip is in work."""
        self.check()
        if self.drain.is_asked:
            raise Interrupted(f"stopped by {self.drain.name}; {AGAIN}")


class GuardedStream:
    """The outcomes of one segment.

    Args:
        actors: the workers of both stages, of this stream alone.
        tell_workers: puts the drain marker.
        num_workers: of the render stage.
        patience_s: how long no clip may end.
    """

    def __init__(
        self,
        stream: Iterator[Outcome],
        *,
        guards: Guards,
        actors: StageActors,
        tell_workers: Callable[[], None],
        num_workers: int,
        patience_s: float,
    ) -> None:
        self.halt: Halt | None = None
        self._guards = guards
        self._tell_workers = tell_workers
        self._actors = actors
        self._watchdog = Watchdog(actors.states, num_workers=num_workers, patience_s=patience_s + SICK_S)
        self._feed = Feed(stream)

    def outcomes(self, *, tick: Callable[[], None]) -> Iterator[Outcome]:
        """Outcomes as they come; `tick` is called in between. Afterwards `halt` says whether it ended early.

        Raises Interrupted where a signal ends the driver, and what the stages raise while nothing halts them.
        """
        try:
            while not self._feed.has_ended:
                self._guards.check()
                self._halt_if_due()
                if self.halt is not None and time.monotonic() > self.halt.until_s:
                    self._kill()
                elif (outcome := self._next()) is not None:
                    self._watchdog.moved()
                    yield outcome
                tick()
        finally:
            self._watchdog.close()
        self._guards.check_idle()

    def _next(self) -> Outcome | None:
        try:
            return self._feed.next(timeout_s=TICK_S)
        except TransientError:
            if self.halt is None:
                raise
            return None  # sick workers fail in many ways; why they were halted says more

    def _halt_if_due(self) -> None:
        """Have the workers put down their clips, once, where there is a reason to."""
        if self._guards.drain.is_over:
            raise Interrupted(f"stopped with clips in work; {AGAIN}")
        halt = self._reason_to_halt() if self.halt is None else None
        if halt is None:
            return
        with suppress(StorageError):  # workers cannot be told now: the next tick tries again
            self._tell_workers()
            self.halt = halt
            self._guards.display.note(f"{halt.reason}: clips in work are put down at their next step")

    def _reason_to_halt(self) -> Halt | None:
        guards, now_s, trouble = self._guards, time.monotonic(), self._watchdog.trouble
        if guards.drain.is_asked:
            return Halt(reason=guards.drain.name, until_s=float("inf"))  # the drain has a clock of its own
        if guards.control.stop is not None:
            until_s = now_s + max(UNHURRIED_S, guards.drain.grace_s)
            return Halt(reason=str(guards.control.stop), until_s=until_s)
        return None if trouble is None else Halt(reason=trouble, until_s=now_s + SICK_S, fault=trouble)

    def _kill(self) -> None:
        """End workers that did not end by themselves; Ray Data then ends the stream."""
        self._guards.display.note("workers that do not answer are killed")
        until_s = time.monotonic() + KILL_S
        while not self._feed.has_ended and time.monotonic() < until_s:
            self._guards.check()
            self._actors.kill()  # again and again: Ray Data replaces those that had not begun
            self._feed.drop(timeout_s=1.0)
        self._feed.has_ended = True  # at any rate for us: what its clips came to stands in the ledger
