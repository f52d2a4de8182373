"""How a stream of outcomes ends early: who is told, who is killed, and what the driver hears of it."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from farm.control import give_command
from farm.errors import Interrupted, LeaseLostError, StorageUnavailableError
from farm.storage import MemoryStorage
from farm.workers.renderer import Outcome
from jobs import guarded
from jobs.guarded import GuardedStream, Guards
from jobs.pipeline import StageError
from jobs.signals import Drain
from jobs.stops import ControlWatch
from jobs.watchdog import WorkerState

RUN = "0123456789abcdef"
SOON_S = 60.0


class Quiet:
    """A session and a lease that are never lost, and a display that keeps its notes."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def check(self) -> None:
        pass

    def note(self, text: str) -> None:
        self.notes.append(text)


@dataclass
class Workers:
    """Ray Data with one worker, as far as the driver sees it."""

    is_told: bool = False
    is_deaf: bool = False
    is_killed: bool = False
    death: str | None = None
    error: Exception | None = None
    num_told: int = 0
    seen: list[str] = field(default_factory=list)

    def stream(self) -> Iterator[Outcome]:
        yield Outcome(clip_id="done", status="committed")
        end_s = time.monotonic() + SOON_S
        while not self.is_killed and (self.is_deaf or not self.is_told):
            if time.monotonic() > end_s:
                raise AssertionError("nobody stopped the stream")
            time.sleep(0.01)
        if self.is_killed:
            raise StageError("The actor died because it was killed by ray.kill")
        if self.error is not None:
            raise self.error
        yield Outcome(clip_id="put down", status="skipped")

    def states(self) -> list[WorkerState]:
        return [WorkerState(actor_id="a", num_restarts=0, death=self.death)]

    def kill(self) -> None:
        self.is_killed = True

    def tell(self) -> None:
        self.num_told += 1
        if self.num_told == 1:
            raise StorageUnavailableError("replace", "drain")
        self.is_told = True


@pytest.fixture
def out() -> MemoryStorage:
    return MemoryStorage(uuid.uuid4().hex)


@pytest.fixture
def guards(out: MemoryStorage) -> Iterator[Guards]:
    quiet: Any = Quiet()
    with ControlWatch(out, RUN, poll_s=0.01) as control:
        yield Guards(session=quiet, lease=quiet, drain=Drain(grace_s=SOON_S), control=control, display=quiet)


def watched(workers: Workers, guards: Guards, *, patience_s: float = 3600.0) -> GuardedStream:
    actors: Any = workers
    return GuardedStream(
        workers.stream(),
        guards=guards,
        actors=actors,
        tell_workers=workers.tell,
        num_workers=1,
        patience_s=patience_s,
    )


def ask(drain: Drain, number: int = 15) -> None:
    """A signal while clips are made."""
    with drain.patiently():
        drain._handle(number, None)


def consume(stream: GuardedStream, statuses: list[str], *, at_first: Callable[[], object]) -> None:
    """Take all outcomes; do that when the first has come."""
    for outcome in stream.outcomes(tick=lambda: None):
        statuses.append(outcome.status)
        if len(statuses) == 1:
            at_first()


def test_a_pause_tells_workers_once_the_storage_answers(out: MemoryStorage, guards: Guards) -> None:
    workers, statuses = Workers(), list[str]()
    stream = watched(workers, guards)
    consume(stream, statuses, at_first=lambda: give_command(out, RUN, "pause", by="ann@here"))
    assert statuses == ["committed", "skipped"]
    assert workers.num_told == 2  # the first time the storage was away
    assert not workers.is_killed
    assert stream.halt is not None
    assert stream.halt.fault is None
    assert "paused by ann@here" in stream.halt.reason


def test_workers_that_do_not_answer_are_killed(
    out: MemoryStorage, guards: Guards, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guarded, "UNHURRIED_S", 0.0)
    hurried = Guards(
        session=guards.session, lease=guards.lease, drain=Drain(grace_s=0), control=guards.control,
        display=guards.display,
    )  # fmt: skip
    workers = Workers(is_deaf=True)
    stream = watched(workers, hurried)
    give_command(out, RUN, "cancel", by="ann@here")
    assert [outcome.status for outcome in stream.outcomes(tick=lambda: None)] == ["committed"]
    assert workers.is_killed


def test_a_worker_that_is_gone_ends_the_pass_with_a_fault(guards: Guards) -> None:
    workers = Workers(error=StageError("what Ray says of it"))
    stream = watched(workers, guards)
    stream._watchdog._poll_s = 0.01  # it has begun with a longer one
    consume(stream, [], at_first=lambda: setattr(workers, "death", "WORKER_DIED"))
    assert stream.halt is not None
    assert "gone for good" in (stream.halt.fault or "")


def test_a_signal_has_clips_put_down_and_ends_the_driver(guards: Guards) -> None:
    statuses = list[str]()
    with pytest.raises(Interrupted, match="stopped by SIGTERM"):
        consume(watched(Workers(), guards), statuses, at_first=lambda: ask(guards.drain))
    assert statuses == ["committed", "skipped"]


def test_a_signal_that_comes_by_two_ways_is_one(guards: Guards) -> None:
    ask(guards.drain)
    ask(guards.drain)
    assert guards.drain.is_asked
    assert not guards.drain.is_over


def test_a_second_signal_waits_for_nobody(guards: Guards) -> None:
    deaf = watched(Workers(is_deaf=True), guards)
    with pytest.raises(Interrupted, match="with clips in work"):
        consume(deaf, [], at_first=lambda: (ask(guards.drain), ask(guards.drain, 2)))


def test_what_stages_raise_comes_through_unless_they_were_halted(guards: Guards) -> None:
    workers = Workers(is_told=True, error=StageError("the disk is full"))
    with pytest.raises(StageError, match="the disk is full"):
        list(watched(workers, guards).outcomes(tick=lambda: None))


def test_a_lost_lease_ends_it(guards: Guards, monkeypatch: pytest.MonkeyPatch) -> None:
    def lost() -> None:
        raise LeaseLostError("taken over")

    monkeypatch.setattr(guards.lease, "check", lost)
    workers = Workers(is_told=True)
    with pytest.raises(LeaseLostError):
        list(watched(workers, guards).outcomes(tick=lambda: None))
