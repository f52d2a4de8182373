"""Of several dispatchers one leads; the next takes over when it lets go, or is gone."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest

from deployments.leading import FOLDER, Chore, Leadership
from farm.errors import StorageError
from farm.ledger.lease import Lease
from farm.queue.dispatch import Dispatcher
from farm.storage import Storage, open_storage

LEASE_S = 0.6


class FakeDispatcher:
    """Counts what its owner asks of it; `fault` is raised by each look."""

    def __init__(self) -> None:
        self.num_looks = 0
        self.fault: Exception | None = None

    def rebuild(self) -> int:
        return 0

    def look(self) -> None:
        self.num_looks += 1
        if self.fault is not None:
            raise self.fault


@pytest.fixture
def storage() -> Storage:
    return open_storage(f"memory://{uuid.uuid4().hex}")


@pytest.fixture
def lead(storage: Storage) -> Iterator[Callable[..., Leadership]]:
    begun = list[Leadership]()

    def begin(*chores: Chore) -> Leadership:
        made = Leadership(
            storage, lambda: cast(Dispatcher, FakeDispatcher()), lease_s=LEASE_S, look_every_s=0.02, chores=chores
        )
        begun.append(made)
        made.start()
        return made

    yield begin
    for leadership in begun:
        leadership.stop(timeout_s=5)


def wait_for(condition: Callable[[], Any], *, timeout_s: float = 5.0) -> Any:
    deadline_s = time.monotonic() + timeout_s
    while not (found := condition()):
        assert time.monotonic() < deadline_s, "waited in vain"
        time.sleep(0.01)
    return found


def test_it_leads_and_looks_where_nobody_else_does(lead: Callable[..., Leadership]) -> None:
    leadership = lead()

    dispatcher = wait_for(lambda: leadership.leader)
    wait_for(lambda: dispatcher.num_looks > 2)


def test_a_second_one_waits_and_takes_over_when_the_first_lets_go(lead: Callable[..., Leadership]) -> None:
    first = lead()
    wait_for(lambda: first.leader)
    second = lead()
    time.sleep(2 * LEASE_S)
    assert second.leader is None
    assert first.leader is not None

    first.stop(timeout_s=5)

    assert first.leader is None
    wait_for(lambda: second.leader, timeout_s=2 * LEASE_S)


def test_it_stops_leading_when_another_has_taken_over(lead: Callable[..., Leadership], storage: Storage) -> None:
    leadership = lead()
    wait_for(lambda: leadership.leader)

    storage.create(f"{FOLDER}/00000099.json", b"{}")  # as who found it silent for too long

    wait_for(lambda: leadership.leader is None)


def test_it_leads_again_with_a_dispatcher_that_knows_nothing(lead: Callable[..., Leadership], storage: Storage) -> None:
    leadership = lead()
    before = wait_for(lambda: leadership.leader)
    other = Lease(storage, FOLDER, name="other", lease_s=LEASE_S)
    storage.create(f"{FOLDER}/00000099.json", b"{}")
    wait_for(lambda: leadership.leader is None)

    after = wait_for(lambda: leadership.leader, timeout_s=10 * LEASE_S)  # the other never beats

    assert after is not before
    assert other.held_by() is not None


def test_a_storage_that_fails_for_a_while_ends_no_leadership(lead: Callable[..., Leadership]) -> None:
    leadership = lead()
    dispatcher = wait_for(lambda: leadership.leader)

    dispatcher.fault = StorageError("list", "open", "it is away")
    seen = dispatcher.num_looks

    wait_for(lambda: dispatcher.num_looks > seen + 3)
    assert leadership.leader is dispatcher


def test_a_fault_that_nobody_expected_begins_it_anew(lead: Callable[..., Leadership]) -> None:
    leadership = lead()
    dispatcher = wait_for(lambda: leadership.leader)

    dispatcher.fault = ZeroDivisionError()

    wait_for(lambda: leadership.leader not in (None, dispatcher))
    assert leadership.silent_s < 1


def test_chores_are_done_when_due_and_their_faults_end_nothing(lead: Callable[..., Leadership]) -> None:
    often, seldom = list[float](), list[float]()

    def fail(_: Dispatcher) -> None:
        often.append(time.monotonic())
        raise RuntimeError("a chore that fails")

    leadership = lead(
        Chore(name="often", every_s=0.05, do=fail),
        Chore(name="seldom", every_s=3600, do=lambda _: seldom.append(1.0)),
    )

    wait_for(lambda: len(often) > 3)
    assert len(seldom) == 1
    assert leadership.leader is not None


def test_a_long_chore_is_not_begun_twice_and_holds_nothing_up(lead: Callable[..., Leadership]) -> None:
    begun = list[float]()

    def take_long(_: Dispatcher) -> None:
        begun.append(time.monotonic())
        time.sleep(0.5)

    leadership = lead(Chore(name="long", every_s=0.01, do=take_long))
    dispatcher = wait_for(lambda: leadership.leader)
    wait_for(lambda: begun)
    seen = dispatcher.num_looks

    wait_for(lambda: dispatcher.num_looks > seen + 3)
    assert len(begun) == 1


def test_it_is_known_when_its_thread_does_not_come_round(
    lead: Callable[..., Leadership], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FakeDispatcher, "look", lambda _: time.sleep(1))
    leadership = lead()

    wait_for(lambda: leadership.silent_s > 0.5)
