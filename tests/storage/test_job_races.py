"""Many at once at one job, over every storage whose create-only puts are decided in one step."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TypeVar

import pytest
from example_jobs import make_job

from farm.errors import JobEndedError, NotFoundError, TakenOverError
from farm.queue.claim import JobLease
from farm.queue.idempotency import IdempotencyKey
from farm.queue.job import JobState
from farm.queue.store import JobStore
from farm.storage import Storage

NUM_THREADS = 16

Result = TypeVar("Result")


@pytest.fixture
def store(storage: Storage, request: pytest.FixtureRequest) -> JobStore:
    if "[s3" in request.node.name:
        pytest.skip("moto looks for the key and puts it in two steps, so that two creators may win")
    return JobStore(storage)


def at_once(calls: list[Callable[[], Result]]) -> list[Result]:
    """All of them on threads of their own, begun in the same moment."""
    start = threading.Barrier(len(calls))

    def begin(call: Callable[[], Result]) -> Result:
        start.wait()
        return call()

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(begin, calls))


def test_one_of_many_claims_a_job(store: JobStore) -> None:
    for _ in range(3):
        job = store.submit(make_job(store))
        claims = [lambda number=number, job=job: store.claim(job.id, worker=f"w:{number}") for number in range(16)]
        leases = [lease for lease in at_once(claims) if lease is not None]
        (winner,) = leases
        with winner:
            assert store.state(job.id).seq == 1
            store.finish(job.id, "failed", by="w", lease=winner)


def test_one_key_is_one_job(store: JobStore) -> None:
    for turn in range(3):
        key = IdempotencyKey.of(f"k{turn}", project="ann", request=b"{}")
        before = store.open_ids()
        jobs = at_once([lambda key=key: store.submit(make_job(store), idempotency=key) for _ in range(NUM_THREADS)])
        assert len({job.id for job in jobs}) == 1
        assert store.open_ids() - before == {jobs[0].id}


def test_many_submissions_at_once(store: JobStore) -> None:
    jobs = at_once([lambda seed=seed: store.submit(make_job(store, seed=seed)) for seed in range(NUM_THREADS)])
    assert store.open_ids() == {job.id for job in jobs}
    assert len(store.list("ann", limit=100).jobs) == NUM_THREADS


def test_a_cancellation_and_a_claim(store: JobStore) -> None:
    for _ in range(6):
        job = store.submit(make_job(store))
        claimed: list[JobLease | None] = []
        cancelled: list[JobState] = []
        at_once(
            [
                lambda job=job, claimed=claimed: claimed.append(store.claim(job.id, worker="w")),
                lambda job=job, cancelled=cancelled: cancelled.append(store.wish_cancel(job.id, by="ann")),
            ]
        )
        (lease,), (told,) = claimed, cancelled
        assert store.is_cancel_wished(job.id)
        if lease is None:
            assert store.state(job.id).status == "cancelled"
            assert job.id not in store.open_ids()
        else:
            # It was claimed before the wish was put, and whoever wished was told that somebody is at it.
            with lease:
                assert (told.status, store.state(job.id).status) == ("in_progress", "in_progress")
                store.finish(job.id, "cancelled", by="w", lease=lease)
    assert store.open_ids() == set()


def test_a_job_ends_once(store: JobStore) -> None:
    job = store.submit(make_job(store))
    lease = store.claim(job.id, worker="w:0")
    assert lease is not None

    def finish(number: int) -> JobState | None:
        with suppress(JobEndedError):
            return store.finish(job.id, "failed", by=f"w:{number}", lease=lease)
        return None

    with lease:
        ends = at_once([lambda number=number: finish(number) for number in range(8)])
    (end,) = [end for end in ends if end is not None]
    assert store.state(job.id) == end


def test_who_was_taken_over_never_has_the_last_word(store: JobStore) -> None:
    counted = Counter[str]()
    for _ in range(4):
        job = store.submit(make_job(store))
        stale = store.claim(job.id, worker="stale")
        assert stale is not None
        stale._stop.set()
        store.storage.replace(stale._path(stale.epoch, "end"), b"")
        heirs: list[JobLease | None] = []

        def finish(job_id: str = job.id, stale: JobLease = stale) -> None:
            with suppress(TakenOverError, JobEndedError):
                store.finish(job_id, "failed", by="stale", lease=stale)

        at_once([finish, lambda job=job, heirs=heirs: heirs.append(store.claim(job.id, worker="heir"))])
        (heir,) = heirs
        if heir is None:
            assert store.state(job.id).by == "stale"
        else:
            with heir:
                assert (store.state(job.id).by, store.state(job.id).epoch) == ("heir", 2)
                store.finish(job.id, "failed", by="heir", lease=heir)
        counted[store.state(job.id).by] += 1
        assert sum(path.startswith(f"jobs/{job.id}/state/") for path in store.storage.names("jobs")) <= 3
    assert sum(counted.values()) == 4
    assert store.open_ids() == set()


def test_removals_at_once(store: JobStore) -> None:
    job = store.submit(make_job(store), idempotency=IdempotencyKey.of("k", project="ann", request=b"{}"))
    store.wish_cancel(job.id, by="ann")

    def remove() -> None:
        with suppress(NotFoundError):
            store.remove(job.id)

    at_once([remove] * 6)
    assert list(store.storage.names()) == []


def test_deletions_of_a_waiting_job_at_once(store: JobStore) -> None:
    """As when a client sends DELETE again since the first takes too long."""
    for _ in range(5):
        job = store.submit(make_job(store), idempotency=IdempotencyKey.of("k", project="ann", request=b"{}"))

        def cancel_and_remove(job_id: str = job.id) -> None:
            with suppress(NotFoundError):
                assert store.wish_cancel(job_id, by="ann").status == "cancelled"
                store.remove(job_id)

        at_once([cancel_and_remove] * 6)
        assert list(store.storage.names()) == []
