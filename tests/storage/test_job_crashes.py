"""Processes that die between any two writes: nothing that was answered is lost, and nothing is there twice."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from example_clips import make_record
from example_jobs import Killed, killed_at, make_job

from farm import ledger
from farm.errors import JobEndedError, NotFoundError
from farm.ledger.refs import holders_of
from farm.queue.claim import JobLease
from farm.queue.idempotency import IdempotencyKey
from farm.queue.job import Job
from farm.queue.removal import holder_of
from farm.queue.store import JobStore
from farm.storage import LocalStorage, MemoryStorage, Storage

KEY = IdempotencyKey.of("k", project="ann", request=b"{}")
AT_MOST = 40

pytestmark = pytest.mark.parametrize("after", [False, True], ids=["before", "after"])


def each_death(
    after: bool, prepare: Callable[[JobStore], Job], do: Callable[[JobStore, Job], object]
) -> list[JobStore]:
    """What is left when a process dies at its first write, at its second, and so on; the last one lives."""
    left = []
    for number in range(1, AT_MOST):
        store = JobStore(MemoryStorage(uuid.uuid4().hex))
        job = prepare(store)
        with killed_at(store.storage, number, after=after):
            try:
                do(store, job)
                has_died = False
            except Killed:
                has_died = True
        left.append(JobStore(store.storage))
        if not has_died:
            assert number > 1
            return left
    raise AssertionError("it never ended")


def is_dead(lease: JobLease) -> None:
    """Its process is gone: no more beats, and the lease has run out."""
    lease._stop.set()


def only_job(store: JobStore) -> Job:
    (view,) = store.list("ann").jobs
    return view.job


def commit_clip(store: JobStore, job: Job, folder: Path) -> None:
    (folder / "spool").write_bytes(b"video")
    artifacts = ledger.Artifacts(video=folder / "spool", thumbnail=b"thumb", strip=b"strip")
    ledger.commit_clip(store.storage, make_record(job.spec), artifacts=artifacts)


def take(store: JobStore, job: Job) -> JobLease:
    assert isinstance(store.storage, MemoryStorage)
    store.storage.advance(20.0)  # whoever held it has been silent for so long
    lease = store.claim(job.id, worker="heir:1")
    assert lease is not None
    return lease


def test_submission(after: bool) -> None:
    stores = each_death(after, make_job, lambda store, job: store.submit(job, idempotency=KEY))
    for store in stores:
        answered = store.submit(make_job(store), idempotency=KEY)
        assert only_job(store) == store.get(answered.id) == answered
        assert store.open_ids() == {answered.id}
        assert store.submit(make_job(store), idempotency=KEY).id == answered.id
        with take(store, answered) as lease:
            store.finish(answered.id, "failed", by="heir:1", lease=lease)
        assert store.submit(make_job(store), idempotency=KEY).id == answered.id
        assert store.open_ids() == set()
    assert len(stores) == 3


def test_submission_without_a_key(after: bool) -> None:
    for store in each_death(after, make_job, lambda store, job: store.submit(job)):
        assert len(store.list("ann").jobs) == len(store.open_ids()) <= 1


def test_claim(after: bool) -> None:
    def claim(store: JobStore, job: Job) -> None:
        lease = store.claim(job.id, worker="here:1")
        assert lease is not None
        is_dead(lease)

    for store in each_death(after, lambda store: store.submit(make_job(store)), claim):
        with take(store, only_job(store)) as lease:
            assert store.state(lease.job.id).epoch == lease.epoch
            assert holders_of(store.storage, lease.job.clip_id) == {holder_of(lease.job)}
            store.finish(lease.job.id, "failed", by="heir:1", lease=lease)
        assert holders_of(store.storage, lease.job.clip_id) == set()
        assert store.list("ann").jobs[0].state.status == "failed"


@pytest.mark.parametrize("status", ["completed", "failed"])
def test_end(after: bool, status: str, tmp_path: Path) -> None:
    def prepare(store: JobStore) -> Job:
        job = store.submit(make_job(store, ttl_s=60))
        commit_clip(store, job, tmp_path)
        lease = store.claim(job.id, worker="here:1")
        assert lease is not None
        is_dead(lease)
        leases.append(lease)
        return job

    def finish(store: JobStore, job: Job) -> None:
        store.finish(job.id, status, by="here:1", lease=leases[-1])  # type: ignore[arg-type]

    leases: list[JobLease] = []
    stores = each_death(after, prepare, finish)
    for number, store in enumerate(stores):
        job = only_job(store)
        if not store.state(job.id).is_end:
            assert store.open_ids() == {job.id}
            with take(store, job) as lease:
                store.finish(job.id, status, by="heir:1", lease=lease)  # type: ignore[arg-type]
        else:
            with pytest.raises(JobEndedError):
                store.finish(job.id, status, by="here:1", lease=leases[number])  # type: ignore[arg-type]
            store.settle(job, store.state(job.id))
        assert (store.open_ids(), store.view(job.id).state.status) == (set(), status)
        held = {holder_of(job)} if status == "completed" else set()
        assert holders_of(store.storage, job.clip_id) == held
        assert only_job(store) == job
        assert list(store.storage.names("expiry"))
    assert len({JobStore(store.storage).state(only_job(store).id).by for store in stores}) == 2


def test_cancellation(after: bool) -> None:
    prepare = lambda store: store.submit(make_job(store))  # noqa: E731
    for store in each_death(after, prepare, lambda store, job: store.wish_cancel(job.id, by="ann")):
        job = only_job(store)
        assert store.wish_cancel(job.id, by="ann").status == "cancelled"
        store.settle(job, store.state(job.id))
        assert (store.open_ids(), only_job(store)) == (set(), job)


def test_cancellation_that_died_after_its_wish_is_done_by_whoever_claims(after: bool) -> None:
    prepare = lambda store: store.submit(make_job(store))  # noqa: E731
    stores = each_death(after, prepare, lambda store, job: store.wish_cancel(job.id, by="ann"))
    statuses = []
    for store in stores:
        job = only_job(store)
        lease = store.claim(job.id, worker="here:1")
        if lease is not None:
            lease.release()
        statuses.append(store.state(job.id).status)
    expected = ["cancelled"] * len(stores) if after else ["in_progress"] + ["cancelled"] * (len(stores) - 1)
    assert statuses == expected


def test_removal(after: bool) -> None:
    def prepare(store: JobStore) -> Job:
        job = store.submit(make_job(store), idempotency=KEY)
        store.wish_cancel(job.id, by="ann")
        return job

    for store in each_death(after, prepare, lambda store, job: store.remove(job.id)):
        again = store.submit(make_job(store), idempotency=KEY)
        assert store.get(again.id).idempotency == KEY.digest
        ids = {view.job.id for view in store.list("ann").jobs}
        assert again.id in ids
        for job_id in ids:
            store.wish_cancel(job_id, by="ann")
            store.remove(job_id)
        for path in list(store.storage.names("removing")):
            store.finish_removal(Job.from_json(store.storage.read(path)))
        assert list(store.storage.names()) == []


def test_a_finisher_that_slept_through_the_removal_of_its_job(
    after: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It stops before one of its puts, and goes on when the job has been ended by another and removed."""
    for number in range(1, AT_MOST):
        storage = MemoryStorage(uuid.uuid4().hex)
        store = JobStore(storage)
        job = store.submit(make_job(store))
        stale = store.claim(job.id, worker="here:1")
        assert stale is not None
        is_dead(stale)
        other = JobStore(MemoryStorage(storage.name))

        def meanwhile(other: JobStore = other, job: Job = job, stale: JobLease = stale) -> None:
            stale._renewed_s = time.monotonic() - 100.0
            if not other.state(job.id).is_end:
                with take(other, job) as lease:
                    other.finish(job.id, "failed", by="heir:1", lease=lease)
            other.remove(job.id)

        has_slept = sleeps_at(storage, number, meanwhile, after=after)
        with suppress(NotFoundError, JobEndedError):
            store.finish(job.id, "failed", by="here:1", lease=stale)
        assert has_slept or number > 4
        if not has_slept:
            return
        assert list(storage.names()) == [], number
    pytest.fail("it never ended")


@pytest.mark.parametrize("claimed", [False, True], ids=["queued", "put down"])
def test_a_canceller_that_slept_through_the_removal_of_the_job(after: bool, claimed: bool) -> None:
    for number in range(1, AT_MOST):
        storage = MemoryStorage(uuid.uuid4().hex)
        store, other = JobStore(storage), JobStore(MemoryStorage(storage.name))
        job = store.submit(make_job(store))
        if claimed:
            with take(store, job) as lease:
                store.put_state(job.id, "queued", by="w", lease=lease)

        def meanwhile(other: JobStore = other, job: Job = job) -> None:
            other.wish_cancel(job.id, by="another")
            other.remove(job.id)

        has_slept = sleeps_at(storage, number, meanwhile, after=after)
        with suppress(NotFoundError):
            store.wish_cancel(job.id, by="ann")
        if not has_slept:
            assert number > 5
            return
        assert list(storage.names()) == [], number
    pytest.fail("it never ended")


def test_a_claimer_that_slept_through_the_removal_of_the_job(after: bool) -> None:
    for number in range(1, AT_MOST):
        storage = MemoryStorage(uuid.uuid4().hex)
        store, other = JobStore(storage), JobStore(MemoryStorage(storage.name))
        job = store.submit(make_job(store))

        def meanwhile(other: JobStore = other, job: Job = job) -> None:
            assert isinstance(other.storage, MemoryStorage)
            other.storage.advance(20.0)
            if other.wish_cancel(job.id, by="another").is_end:
                other.remove(job.id)

        has_slept = sleeps_at(storage, number, meanwhile, after=after)
        with suppress(NotFoundError):
            lease = store.claim(job.id, worker="here:1")
            assert lease is None or not has_slept
        if not has_slept:
            assert number > 3
            return
        assert store.list("ann").jobs == ()
        assert list(storage.names()) == [], number
    pytest.fail("it never ended")


def sleeps_at(storage: Storage, number: int, meanwhile: Callable[[], None], *, after: bool) -> list[bool]:
    """Have something happen at the put or deletion of that number; the list says whether it has."""
    count, has_slept = iter(range(1, 10**6)), list[bool]()

    def sleeping(call: Callable[..., None]) -> Callable[..., None]:
        def write(*arguments: object) -> None:
            if next(count) != number:
                call(*arguments)
                return
            if after:
                call(*arguments)
            has_slept.append(True)
            meanwhile()
            if not after:
                call(*arguments)

        return write

    for name in ("create", "delete"):
        setattr(storage, name, sleeping(getattr(storage, name)))
    return has_slept


def test_the_disk_keeps_what_was_answered(after: bool, tmp_path: Path) -> None:
    """The same over a folder, where a dying process also leaves temporaries."""
    for number in range(1, AT_MOST):
        storage = LocalStorage(tmp_path / f"{number}")
        store = JobStore(storage)
        job = make_job(store)
        with killed_at(storage, number, after=after):
            try:
                store.submit(job, idempotency=KEY)
                has_died = False
            except Killed:
                has_died = True
        store = JobStore(LocalStorage(tmp_path / f"{number}"))
        answered = store.submit(make_job(store), idempotency=KEY)
        assert [view.job for view in store.list("ann").jobs] == [answered]
        if not has_died:
            assert answered.id == job.id
            return
    pytest.fail("it never ended")
