"""Two processes at one job, stopped and let go on at every pair of requests to the storage, reads included.

The first stops before its request number i; the second begins and stops before its request number j; the first goes
on to its end, then the second. Whatever i and j are, the outcome must be one that also one after the other can give.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from example_clips import make_record
from example_jobs import ASKED, make_job

from farm import ledger
from farm.errors import ClipGoneError, JobActiveError, JobError, NotFoundError, TakenOverError
from farm.ledger import parallel
from farm.ledger.refs import holders_of
from farm.queue.idempotency import IdempotencyKey
from farm.queue.job import Job
from farm.queue.removal import holder_of
from farm.queue.retention import sweep
from farm.queue.store import JobStore
from farm.storage import MemoryStorage

KEY = IdempotencyKey.of("k", project="ann", request=b"{}")
Act = Callable[[JobStore], object]


class GatedStorage(MemoryStorage):
    """Stops before its request number `stop_before` (from 1) until `go_on`."""

    def __init__(self, name: str, *, stop_before: int) -> None:
        super().__init__(name)
        self.has_stopped = threading.Event()
        self._go_on = threading.Event()
        self._left = stop_before
        self._within = threading.local()

    def go_on(self) -> None:
        self._go_on.set()

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        return self._gated(found) if name in ASKED and name != "now" else found

    def _gated(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def gated(*arguments: Any, **named: Any) -> Any:
            if getattr(self._within, "is_busy", False):  # what it asks itself
                return call(*arguments, **named)
            self._left -= 1
            if self._left == 0:
                self.has_stopped.set()
                assert self._go_on.wait(20.0)
            self._within.is_busy = True
            try:
                return call(*arguments, **named)
            finally:
                self._within.is_busy = False

        return gated


class Actor:
    """A process that does something, as far as its gate lets it."""

    def __init__(self, name: str, act: Act, *, stop_before: int) -> None:
        self.storage = GatedStorage(name, stop_before=stop_before)
        self.result: object = None
        self.fault: BaseException | None = None
        self._act = act
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        try:
            self.result = self._act(JobStore(self.storage, clock=lambda: 1.7e9))
        except BaseException as fault:
            self.fault = fault
        finally:
            self.storage.has_stopped.set()

    def start(self) -> bool:
        """Run up to the gate; False where it has come to its end without meeting it."""
        self._thread.start()
        assert self.storage.has_stopped.wait(20.0)
        if self.storage._left == 0:
            return True
        self.finish()
        return False

    def finish(self) -> None:
        self.storage.go_on()
        self._thread.join(20.0)
        assert not self._thread.is_alive()


@pytest.fixture(autouse=True)
def _one_request_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "NUM_THREADS", 1)


def each_pair(prepare: Act, first: Act, second: Act) -> Iterator[tuple[JobStore, Actor, Actor, str]]:
    """All outputs and outcomes, and at which pair of requests."""
    i, was_last = 0, False
    while not was_last:
        i, j, is_inner_last = i + 1, 0, False
        while not is_inner_last:
            j += 1
            name = uuid.uuid4().hex
            prepare(JobStore(MemoryStorage(name), clock=lambda: 1.7e9))
            one, other = Actor(name, first, stop_before=i), Actor(name, second, stop_before=j)
            was_last = not one.start()
            is_inner_last = not other.start()
            if not was_last:
                one.finish()
            if not is_inner_last:
                other.finish()
            yield JobStore(MemoryStorage(name), clock=lambda: 1.7e9), one, other, f"at {i}, {j}"
            assert i < 80
            assert j < 80
            if was_last:
                break


PREPARED = make_job(JobStore(MemoryStorage("prepared"), clock=lambda: 1.7e9))


def submit(store: JobStore) -> Job:
    return store.submit(PREPARED, idempotency=KEY)


def cancel(store: JobStore) -> object:
    return store.wish_cancel(PREPARED.id, by="ann")


def cancel_and_remove(store: JobStore) -> None:
    store.wish_cancel(PREPARED.id, by="ann")
    store.remove(PREPARED.id)


def submit_anew(store: JobStore) -> Job:
    return store.submit(make_job(store, seed=7), idempotency=KEY)


def claim_and_fail(store: JobStore) -> bool:
    lease = store.claim(PREPARED.id, worker="w:1")
    if lease is None:
        return False
    with lease:
        store.finish(PREPARED.id, "failed", by="w:1", lease=lease)
    return True


def check(actor: Actor, where: str, *allowed: type[BaseException]) -> None:
    if actor.fault is not None and not isinstance(actor.fault, allowed):
        raise AssertionError(where) from actor.fault


def test_two_deletions() -> None:
    for store, one, other, where in each_pair(submit, cancel_and_remove, cancel_and_remove):
        for actor in (one, other):
            check(actor, where, NotFoundError, JobActiveError)
        assert one.fault is None or other.fault is None, where
        assert list(store.storage.names()) == [], where


def test_a_deletion_and_a_claim() -> None:
    for store, one, other, where in each_pair(submit, cancel_and_remove, claim_and_fail):
        check(one, where, NotFoundError, JobActiveError)
        check(other, where, NotFoundError, JobError, TakenOverError)
        if isinstance(one.fault, JobActiveError):  # the claim was first
            assert store.view(PREPARED.id).state.is_end, where
            store.remove(PREPARED.id)
        assert list(store.storage.names()) == [], where


def test_a_claim_and_a_deletion() -> None:
    for store, one, other, where in each_pair(submit, claim_and_fail, cancel_and_remove):
        check(one, where, NotFoundError, JobError, TakenOverError)
        check(other, where, NotFoundError, JobActiveError)
        if isinstance(other.fault, JobActiveError):
            assert store.view(PREPARED.id).state.is_end, where
            store.remove(PREPARED.id)
        assert list(store.storage.names()) == [], where


def test_a_repeated_submission_and_a_deletion() -> None:
    """Who is answered finds the job that the answer names, or one was told that there is none."""
    for store, one, other, where in each_pair(submit, submit_anew, cancel_and_remove):
        check(one, where)
        check(other, where, JobActiveError)
        answered = one.result
        assert isinstance(answered, Job)
        if other.fault is None:
            with pytest.raises(NotFoundError):
                store.get(PREPARED.id)
        if answered.id != PREPARED.id:  # it was removed before, and this is a new one
            assert store.open_ids() == {answered.id}, where
            assert store.view(answered.id).state.status == "queued", where
        for job_id in {view.job.id for view in store.list("ann").jobs} | store.open_ids():
            store.wish_cancel(job_id, by="ann")
            store.remove(job_id)
        assert list(store.storage.names()) == [], where


def test_a_deletion_and_a_repeated_submission() -> None:
    for store, one, other, where in each_pair(submit, cancel_and_remove, submit_anew):
        check(one, where, JobActiveError)
        check(other, where)
        assert isinstance(other.result, Job)
        if one.fault is None:
            with pytest.raises(NotFoundError):
                store.get(PREPARED.id)
        for job_id in {view.job.id for view in store.list("ann").jobs} | store.open_ids():
            store.wish_cancel(job_id, by="ann")
            store.remove(job_id)
        assert list(store.storage.names()) == [], where


def test_a_cancellation_and_a_claim() -> None:
    for first, second in ((cancel, claim_and_fail), (claim_and_fail, cancel)):
        statuses = set()
        for store, one, other, where in each_pair(submit, first, second):
            for actor in (one, other):
                check(actor, where, JobError)
            state = store.state(PREPARED.id)
            statuses.add(state.status)
            assert state.is_end, where
            assert (store.open_ids(), holders_of(store.storage, PREPARED.clip_id)) == (set(), set()), where
            assert [view.state for view in store.list("ann").jobs] == [state], where
        assert statuses == {"cancelled", "failed"}


def test_an_answer_from_the_ledger_and_the_deletion_of_the_other_holder(tmp_path: Path) -> None:
    """Who is told that the clip is there keeps it, whoever else deletes it in that moment."""
    (tmp_path / "spool").write_bytes(b"video")
    artifacts = ledger.Artifacts(video=tmp_path / "spool", thumbnail=b"thumb", strip=b"strip")

    def prepare(store: JobStore) -> None:
        ledger.commit_clip(store.storage, make_record(PREPARED.spec), artifacts=artifacts)
        store.submit(others[0])
        store.finish(others[0].id, "completed", by="api", from_ledger=True)
        submit(store)

    def remove_other(store: JobStore) -> None:
        store.remove(others[0].id)

    def answer(store: JobStore) -> object:
        with suppress(ClipGoneError):
            return store.finish(PREPARED.id, "completed", by="api", from_ledger=True)
        return None

    others = [make_job(JobStore(MemoryStorage("prepared"), clock=lambda: 1.7e9), project="ben")]
    for first, second in ((answer, remove_other), (remove_other, answer)):
        has_been_answered = set()
        for store, one, other, where in each_pair(prepare, first, second):
            for actor in (one, other):
                check(actor, where)
            state = store.state(PREPARED.id)
            is_there = ledger.read_record(store.storage, PREPARED.clip_id) is not None
            has_been_answered.add(state.status)
            if state.status == "completed":
                assert is_there, where
                assert store.storage.read(make_record(PREPARED.spec).video.path) == b"video", where
                assert holders_of(store.storage, PREPARED.clip_id) == {holder_of(PREPARED)}, where
            else:
                assert state.status == "queued", where
                assert holders_of(store.storage, PREPARED.clip_id) == set(), where
        assert has_been_answered == {"completed", "queued"}


def test_two_sweeps_of_one_job() -> None:
    def expired(store: JobStore) -> None:
        store.submit(PREPARED.model_copy(update={"ttl_s": 0}), idempotency=KEY)
        cancel(store)

    def sweep_late(store: JobStore) -> object:
        return sweep(store, now_s=2.0e9)

    for store, one, other, where in each_pair(expired, sweep_late, sweep_late):
        for actor in (one, other):
            check(actor, where)
        assert list(store.storage.names()) == [], where
