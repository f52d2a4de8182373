"""Jobs over every storage: their way from submission to removal, listings, and what it costs."""

from __future__ import annotations

import pickle
import uuid
from collections import Counter
from pathlib import Path

import pytest
from example_clips import make_record, make_spec
from example_jobs import CountedStorage, make_job

from farm import ledger
from farm.errors import (
    ClipGoneError,
    IdempotencyConflict,
    JobActiveError,
    JobEndedError,
    NotFoundError,
    TakenOverError,
)
from farm.ledger.refs import holders_of
from farm.queue.claim import JobLease
from farm.queue.idempotency import IdempotencyKey
from farm.queue.job import Job, JobFault
from farm.queue.removal import holder_of
from farm.queue.store import JobStore
from farm.storage import LocalStorage, MemoryStorage, Storage


@pytest.fixture
def store(storage: Storage) -> JobStore:
    return JobStore(storage)


def test_names_come_in_the_order_they_were_asked_for(store: JobStore) -> None:
    names = [store.new_id("ann") for _ in range(200)]
    assert names == sorted(names)


def test_names_come_in_order_also_from_half_a_millisecond_on() -> None:
    store = JobStore(MemoryStorage(uuid.uuid4().hex), clock=lambda: 1000.0005)
    names = [store.new_id("ann") for _ in range(200)]
    assert names == sorted(names)


def key_of(text: str = "k", *, project: str = "ann", request: bytes = b"{}") -> IdempotencyKey:
    return IdempotencyKey.of(text, project=project, request=request)


def commit_clip(store: JobStore, job: Job, folder: Path) -> None:
    spool = folder / "spool"
    spool.write_bytes(b"video")
    artifacts = ledger.Artifacts(video=spool, thumbnail=b"thumb", strip=b"strip")
    assert ledger.commit_clip(store.storage, make_record(job.spec), artifacts=artifacts).has_won


def complete(store: JobStore, job: Job, folder: Path) -> None:
    lease = store.claim(job.id, worker="here:1")
    assert lease is not None
    with lease:
        if ledger.read_record(store.storage, job.clip_id) is None:
            commit_clip(store, job, folder)
        store.finish(job.id, "completed", by="here:1", lease=lease, device_seconds=2.0, attempts=1)


def test_the_way_of_a_job(store: JobStore, tmp_path: Path) -> None:
    job = make_job(store)
    assert store.submit(job) == job
    assert (store.get(job.id), store.open_ids()) == (job, {job.id})
    assert (store.view(job.id).state.status, store.view(job.id).state.seq) == ("queued", 0)
    lease = store.claim(job.id, worker="here:1")
    assert lease is not None
    with lease:
        assert store.state(job.id).status == "in_progress"
        assert store.state(job.id).epoch == lease.epoch == 1
        assert holders_of(store.storage, job.clip_id) == {holder_of(job)}
        assert store.is_held(job.id)
        assert store.claim(job.id, worker="there:2") is None
        commit_clip(store, job, tmp_path)
        done = store.finish(job.id, "completed", by="here:1", lease=lease, device_seconds=2.0, attempts=1)
    view = store.view(job.id)
    assert (view.job, view.state, view.record) == (job, done, make_record(job.spec))
    assert (done.seq, done.device_seconds, store.open_ids()) == (2, 2.0, set())
    assert store.claim(job.id, worker="there:2") is None
    assert [one.job for one in store.list("ann").jobs] == [job]


def test_a_job_that_was_put_down_goes_on(store: JobStore) -> None:
    job = store.submit(make_job(store))
    for epoch in (1, 2):
        lease = store.claim(job.id, worker="here:1")
        assert lease is not None
        with lease:
            assert lease.epoch == epoch
            store.put_state(job.id, "queued", by="here:1", lease=lease, step=3, num_steps=20)
        assert (store.state(job.id).status, store.state(job.id).step) == ("queued", 3)
        assert not store.is_held(job.id)
    assert store.open_ids() == {job.id}


def test_a_failed_job_holds_no_clip(store: JobStore) -> None:
    job = store.submit(make_job(store))
    lease = store.claim(job.id, worker="here:1")
    assert lease is not None
    with lease:
        fault = JobFault(code="not_finite", message="NaN", advice="lower the guidance")
        store.finish(job.id, "failed", by="here:1", lease=lease, error=fault)
    assert store.view(job.id).state.error == fault
    assert (store.open_ids(), holders_of(store.storage, job.clip_id)) == (set(), set())


def test_the_ledger_answers_a_job_that_was_never_claimed(store: JobStore, tmp_path: Path) -> None:
    job = store.submit(make_job(store))
    with pytest.raises(ClipGoneError):
        store.finish(job.id, "completed", by="api", from_ledger=True)
    assert (store.state(job.id).status, holders_of(store.storage, job.clip_id)) == ("queued", set())
    commit_clip(store, job, tmp_path)
    assert store.finish(job.id, "completed", by="api", from_ledger=True).from_ledger
    assert holders_of(store.storage, job.clip_id) == {holder_of(job)}
    assert store.open_ids() == set()


def test_nothing_follows_an_end(store: JobStore) -> None:
    job = store.submit(make_job(store))
    lease = store.claim(job.id, worker="here:1")
    assert lease is not None
    with lease:
        store.finish(job.id, "failed", by="here:1", lease=lease)
        for attempt in (
            lambda: store.finish(job.id, "completed", by="here:1", lease=lease),
            lambda: store.put_state(job.id, "queued", by="here:1", lease=lease),
            lambda: store.finish(job.id, "completed", by="api", from_ledger=True),
        ):
            with pytest.raises(JobEndedError):
                attempt()
    assert store.wish_cancel(job.id, by="ann").status == "failed"


def test_who_was_taken_over_writes_nothing_that_counts(store: JobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    job = store.submit(make_job(store))
    stale = store.claim(job.id, worker="here:1")
    assert stale is not None
    monkeypatch.setattr(stale, "_thread", None)  # it stopped, and its lease ended
    store.storage.replace(stale._path(stale.epoch, "end"), b"")
    heir = store.claim(job.id, worker="there:2")
    assert heir is not None
    with heir:
        for attempt in (
            lambda: store.finish(job.id, "failed", by="here:1", lease=stale),
            lambda: store.put_state(job.id, "queued", by="here:1", lease=stale),
        ):
            with pytest.raises(TakenOverError):
                attempt()
        assert (store.state(job.id).epoch, store.state(job.id).by) == (2, "there:2")
        store.finish(job.id, "failed", by="there:2", lease=heir)
    with pytest.raises(JobEndedError):
        store.finish(job.id, "failed", by="here:1", lease=stale)
    store.remove(job.id)
    for attempt in (
        lambda: store.finish(job.id, "failed", by="here:1", lease=stale),
        lambda: store.put_state(job.id, "queued", by="here:1", lease=stale),
    ):
        with pytest.raises(NotFoundError):
            attempt()
    assert list(store.storage.names()) == []


def test_a_job_that_nobody_works_at_is_cancelled_at_once(store: JobStore) -> None:
    job = store.submit(make_job(store))
    assert store.wish_cancel(job.id, by="ann").status == "cancelled"
    assert (store.open_ids(), store.is_cancel_wished(job.id)) == (set(), True)
    assert store.claim(job.id, worker="here:1") is None
    assert store.wish_cancel(job.id, by="ann").status == "cancelled"
    assert store.view(job.id).state.by == "ann"


def test_a_job_in_work_is_cancelled_by_whoever_works_at_it(store: JobStore) -> None:
    job = store.submit(make_job(store))
    lease = store.claim(job.id, worker="here:1")
    assert lease is not None
    with lease:
        assert store.wish_cancel(job.id, by="ann").status == "in_progress"
        assert store.is_cancel_wished(job.id)
    assert store.state(job.id).status == "in_progress"  # its holder let go without a word
    assert store.claim(job.id, worker="there:2") is None
    assert (store.state(job.id).status, store.open_ids()) == ("cancelled", set())


def test_a_job_whose_worker_died_is_cancelled_at_once(store: JobStore) -> None:
    job = store.submit(make_job(store))
    lease = store.claim(job.id, worker="here:1")
    assert lease is not None
    lease.release()
    assert store.wish_cancel(job.id, by="ann").status == "cancelled"
    assert store.state(job.id).epoch == 1


def test_removal_leaves_nothing(store: JobStore, tmp_path: Path) -> None:
    job = store.submit(make_job(store), idempotency=key_of())
    with pytest.raises(JobActiveError):
        store.remove(job.id)
    store.wish_cancel(job.id, by="ann")
    store.remove(job.id)
    assert list(store.storage.names()) == []
    if isinstance(store.storage, LocalStorage):
        assert list((store.storage.root / "jobs").iterdir()) == []
    with pytest.raises(NotFoundError):
        store.view(job.id)
    with pytest.raises(NotFoundError):
        store.remove(job.id)
    assert store.list("ann").jobs == ()
    again = make_job(store)
    assert store.submit(again, idempotency=key_of()).id == again.id, "the key is free again"


@pytest.mark.parametrize("name", ["", "video_x", "../keys/a", "video_" + "0" * 26, "video_" + "0" * 25 + "/"])
def test_there_is_no_such_job(name: str) -> None:
    store = JobStore(MemoryStorage(uuid.uuid4().hex))
    for ask in (store.get, store.view, store.remove, lambda job_id: store.claim(job_id, worker="w")):
        with pytest.raises(NotFoundError):
            ask(name)


def test_a_repeated_request_is_the_same_job(store: JobStore) -> None:
    first = store.submit(make_job(store), idempotency=key_of())
    assert store.submit(make_job(store), idempotency=key_of()).id == first.id
    assert store.open_ids() == {first.id}
    other = make_job(store, project="ben")
    assert store.submit(other, idempotency=key_of(project="ben")).id == other.id
    with pytest.raises(IdempotencyConflict):
        store.submit(make_job(store), idempotency=key_of(request=b'{"seed":1}'))
    store.wish_cancel(first.id, by="ann")
    assert store.submit(make_job(store), idempotency=key_of()).id == first.id, "also once it has ended"
    assert store.open_ids() == {other.id}


def test_a_removal_that_goes_on_later_leaves_a_key_that_was_used_again(store: JobStore) -> None:
    first = store.submit(make_job(store), idempotency=key_of())
    store.wish_cancel(first.id, by="ann")
    store.remove(first.id)
    again = store.submit(make_job(store), idempotency=key_of())
    store.finish_removal(first)
    assert store.submit(make_job(store), idempotency=key_of()) == again


def test_a_job_that_is_being_removed_is_not_listed(store: JobStore) -> None:
    job = store.submit(make_job(store))
    store.wish_cancel(job.id, by="ann")
    for path in list(store.storage.names(f"jobs/{job.id}/state")):
        store.storage.delete(path)
    assert store.list("ann").jobs == ()


def test_no_key_is_stored(store: JobStore) -> None:
    store.submit(make_job(store), idempotency=key_of("the-clients-secret"))
    for path in store.storage.names():
        assert b"the-clients-secret" not in store.storage.read(path)


def test_pages(store: JobStore, tmp_path: Path) -> None:
    hour = 3600.0
    times = {"a": 0.1, "b": 0.2, "c": hour, "d": 2 * hour, "e": 5 * hour, "f": 5 * hour + 1}
    jobs = {}
    for name, at in times.items():
        clock = lambda at=at: 1.7e9 + at  # noqa: E731
        jobs[name] = store.submit(make_job(JobStore(store.storage, clock=clock), seed=len(jobs)))
        store.submit(make_job(JobStore(store.storage, clock=clock), project="ben"))
    names = {job.id: name for name, job in jobs.items()}
    for name in ("a", "c", "d", "f"):
        store.wish_cancel(jobs[name].id, by="ann")

    def pages(**asked: object) -> list[str]:
        found, after = [], None
        while True:
            page = store.list("ann", after=after, **asked)  # type: ignore[arg-type]
            found.append("".join(names[view.job.id] for view in page.jobs))
            if not page.has_more:
                return found
            after = page.next_after

    assert pages(limit=4) == ["fedc", "ba"]
    assert pages(limit=4, order="asc") == ["abcd", "ef"]
    assert pages(limit=6) == ["fedcba"]
    assert "".join(pages(limit=2, statuses={"queued"})) == "eb"
    assert "".join(pages(limit=2, statuses={"cancelled"})) == "fdca"
    assert "".join(pages(limit=2, statuses={"failed"})) == ""
    store.remove(jobs["d"].id)
    assert "".join(pages(limit=1)) == "fecba"
    everyones = [view.job.project for view in store.list(None, limit=100).jobs]
    assert (everyones.count("ann"), everyones.count("ben")) == (5, 6)
    assert store.list("nobody").jobs == ()


def test_a_listing_that_another_process_makes_is_the_same(storage: Storage, tmp_path: Path) -> None:
    store = JobStore(storage)
    jobs = [store.submit(make_job(store, seed=seed)) for seed in range(3)]
    complete(store, jobs[1], tmp_path)
    before = store.list("ann")
    other = JobStore(storage)
    assert other.list("ann", with_records=True).jobs[1].record is not None
    assert (before, store.list("ann")) == (other.list("ann"), before)
    other.remove(jobs[1].id)
    assert {view.job.id for view in store.list("ann").jobs} == {jobs[0].id, jobs[2].id}


def test_many_jobs_at_once(store: JobStore) -> None:
    jobs = [store.submit(make_job(store, seed=seed)) for seed in range(5)]
    missing = store.new_id("ann")
    names = [jobs[3].id, missing, jobs[0].id]
    assert [view.job for view in JobStore(store.storage).views(names)] == [jobs[3], jobs[0]]


def test_a_store_travels() -> None:
    store = JobStore(MemoryStorage("travels"))
    job = store.submit(make_job(store))
    assert pickle.loads(pickle.dumps(store)).get(job.id) == job


def test_what_it_costs(tmp_path: Path) -> None:
    storage = CountedStorage(uuid.uuid4().hex)
    store = JobStore(storage)
    job = make_job(store)

    def cost(call: object) -> list[str]:
        storage.asked.clear()
        call()  # type: ignore[operator]
        return list(storage.asked)

    assert cost(lambda: store.submit(job)) == ["create"]
    keyed = make_job(store, seed=1)
    assert cost(lambda: store.submit(keyed, idempotency=key_of())) == ["create", "create"]
    assert cost(lambda: store.view(job.id)) == ["read", "names"]
    leases = list[JobLease | None]()
    claim = cost(lambda: leases.append(store.claim(job.id, worker="here:1")))
    assert Counter(claim) == {"names": 2, "list": 1, "create": 3, "read": 1, "stat": 2, "now": 1}
    (lease,) = leases
    assert lease is not None
    assert cost(lambda: store.view(job.id)) == ["read", "names", "read"]
    puts = cost(lambda: store.finish(job.id, "failed", by="here:1", lease=lease))
    assert puts == ["names", "read", "create", "create", "create", "delete", "delete"]
    lease.release()
    assert cost(lambda: store.view(job.id)) == ["read", "read", "names", "read"]
    assert Counter(cost(lambda: store.list("ann"))) == {"folders": 1, "names": 4, "read": 1}
    assert Counter(cost(lambda: store.list("ann"))) == {"folders": 1, "names": 3}
    assert Counter(cost(lambda: store.list("ann", statuses={"failed"}))) == {"folders": 1, "names": 1}
    assert Counter(cost(lambda: store.list("ann", statuses={"queued"}))) == {"names": 2}
    commit_clip(store, keyed, tmp_path)
    (lease,) = [store.claim(keyed.id, worker="here:1")]
    assert lease is not None
    puts = cost(lambda: store.finish(keyed.id, "completed", by="here:1", lease=lease))
    assert Counter(puts) == {"names": 2, "read": 1, "stat": 1, "create": 3, "delete": 1}
    lease.release()


def test_specs_of_other_projects_are_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    storage = CountedStorage(uuid.uuid4().hex)
    writer = JobStore(storage)
    for seed in range(30):
        writer.submit(make_job(writer, project="ben", seed=seed))
    mine = writer.submit(make_job(writer, spec=make_spec()))
    storage.asked.clear()
    assert [view.job for view in JobStore(storage).list("ann").jobs] == [mine]
    assert storage.asked.count("read") == 1
