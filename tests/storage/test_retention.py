"""Sweeping over every storage: jobs go when their time is over, and what dead processes left is put in order."""

from __future__ import annotations

import pickle
import uuid
from pathlib import Path

import pytest
from example_clips import make_record, make_spec
from example_jobs import CountedStorage, Killed, killed_at, make_job

from farm import ledger
from farm.errors import NotFoundError
from farm.ledger.refs import put_ref
from farm.queue.expiry import Retention
from farm.queue.job import Job
from farm.queue.removal import holder_of
from farm.queue.retention import Swept, sweep
from farm.queue.store import JobStore
from farm.storage import LocalStorage, MemoryStorage, Storage

HOUR_S = 3600.0
NOTHING = Swept(num_expired=0, num_finished=0, num_settled=0, num_inputs=0, is_more=False)


def swept(store: JobStore, *, after_s: float, limit: int = 100) -> Swept:
    return sweep(store, now_s=store.storage.now() + after_s, limit=limit)


def ended(store: JobStore, **asked: object) -> Job:
    job = store.submit(make_job(store, **asked))
    store.wish_cancel(job.id, by="ann")
    return job


def completed(store: JobStore, folder: Path, **asked: object) -> Job:
    job = store.submit(make_job(store, **asked))
    (folder / "spool").write_bytes(b"video")
    artifacts = ledger.Artifacts(video=folder / "spool", thumbnail=b"thumb", strip=b"strip")
    ledger.commit_clip(store.storage, make_record(job.spec), artifacts=artifacts)
    store.finish(job.id, "completed", by="api", from_ledger=True)
    return job


def is_there(store: JobStore, job: Job) -> bool:
    try:
        return store.view(job.id).job == job
    except NotFoundError:
        return False


def test_a_job_goes_when_its_time_is_over(storage: Storage) -> None:
    store = JobStore(storage)
    gone, kept, pinned, open_one = (
        ended(store, seed=1, ttl_s=1800),
        ended(store, seed=2),
        ended(store, seed=3, ttl_s=0, is_pinned=True),
        store.submit(make_job(store, seed=4, ttl_s=0)),
    )
    assert swept(store, after_s=0) == NOTHING
    assert is_there(store, gone)
    assert swept(store, after_s=3 * HOUR_S).num_expired == 1
    assert not is_there(store, gone)
    assert all(is_there(store, job) for job in (kept, pinned, open_one))
    assert not list(storage.names("expiry"))
    assert swept(store, after_s=1e9) == NOTHING
    if isinstance(storage, LocalStorage):
        assert not list((storage.root / "expiry").glob("*"))


def test_the_usual_time_differs_between_ends(tmp_path: Path) -> None:
    store = JobStore(MemoryStorage(uuid.uuid4().hex), retention=Retention(completed_s=10 * HOUR_S, failed_s=HOUR_S))
    failed, done = ended(store, seed=1), completed(store, tmp_path, seed=2)
    kept = completed(store, tmp_path, seed=3, ttl_s=100 * 3600)
    assert swept(store, after_s=3 * HOUR_S).num_expired == 1
    assert [is_there(store, job) for job in (failed, done, kept)] == [False, True, True]
    assert ledger.committed_ids(store.storage) == {done.clip_id, kept.clip_id}
    assert swept(store, after_s=12 * HOUR_S).num_expired == 1
    assert [is_there(store, job) for job in (done, kept)] == [False, True]
    assert ledger.committed_ids(store.storage) == {kept.clip_id}


def test_whoever_keeps_jobs_longer_now_keeps_those_of_before(tmp_path: Path) -> None:
    storage = MemoryStorage(uuid.uuid4().hex)
    job = ended(JobStore(storage, retention=Retention(failed_s=HOUR_S)))
    longer, for_ever = JobStore(storage, retention=Retention(failed_s=9 * HOUR_S)), JobStore(storage)
    assert swept(longer, after_s=3 * HOUR_S) == NOTHING
    assert len(list(storage.names("expiry"))) == 1
    assert swept(longer, after_s=11 * HOUR_S).num_expired == 1
    again = ended(JobStore(storage, retention=Retention(failed_s=HOUR_S)))
    assert swept(for_ever, after_s=1e6) == NOTHING
    assert not list(storage.names("expiry"))
    assert (is_there(for_ever, job), is_there(for_ever, again)) == (False, True)


def test_a_job_that_was_removed_by_hand_is_no_fault() -> None:
    store = JobStore(MemoryStorage(uuid.uuid4().hex))
    job = ended(store, ttl_s=10)
    store.remove(job.id)
    assert swept(store, after_s=3 * HOUR_S) == NOTHING
    assert not list(store.storage.names())


def test_a_sweep_does_only_so_much(tmp_path: Path) -> None:
    store = JobStore(MemoryStorage(uuid.uuid4().hex))
    jobs = [ended(store, seed=seed, ttl_s=0) for seed in range(7)]
    counts = []
    while True:
        done = swept(store, after_s=3 * HOUR_S, limit=3)
        counts.append(done.num_expired)
        if not done.is_more:
            break
    assert counts == [3, 3, 1]
    assert not any(is_there(store, job) for job in jobs)


def test_nothing_is_read_of_jobs_that_stay() -> None:
    storage = CountedStorage(uuid.uuid4().hex)
    store = JobStore(storage)
    for seed in range(20):
        ended(store, seed=seed, ttl_s=10 * 3600)
    storage.asked.clear()
    assert sweep(store) == NOTHING
    assert sorted(storage.asked) == ["folders", "list", "list", "names", "now"]


@pytest.mark.parametrize("after", [False, True])
def test_a_removal_that_died_anywhere_is_finished(tmp_path: Path, after: bool) -> None:
    for number in range(1, 60):
        storage = MemoryStorage(uuid.uuid4().hex)
        store = JobStore(storage)
        job = completed(store, tmp_path, ttl_s=10)
        with killed_at(storage, number, after=after):
            try:
                store.remove(job.id)
                has_died = False
            except Killed:
                has_died = True
        was_begun = number > 1 or after
        has_mark = bool(list(storage.names("removing")))
        assert swept(store, after_s=120.0).num_finished == has_mark
        left = {path.split("/")[0] for path in storage.names()}
        if not was_begun:
            assert is_there(store, job)
            continue
        assert not is_there(store, job)
        assert left <= {"state", "unindexed", "expiry"}, (number, sorted(storage.names()))
        assert store.list("ann").jobs == ()
        if not has_died:
            return
    pytest.fail("it never ended")


def test_a_job_at_its_end_that_is_called_open_is_settled(storage: Storage) -> None:
    store = JobStore(storage)
    job, other = ended(store), store.submit(make_job(store, seed=1))
    storage.create(f"open/{job.id}", job.to_json())
    put_ref(storage, job.clip_id, holder_of(job))
    assert swept(store, after_s=0) == NOTHING
    assert swept(store, after_s=61.0).num_settled == 1
    assert store.open_ids() == {other.id}
    assert not list(storage.names("refs"))


def test_the_usual_time_travels_with_the_store() -> None:
    store = JobStore(MemoryStorage("travels-too"), retention=Retention(failed_s=5.0))
    assert pickle.loads(pickle.dumps(store)).retention == store.retention


def test_clips_that_others_hold_outlive_the_job(tmp_path: Path) -> None:
    store = JobStore(MemoryStorage(uuid.uuid4().hex))
    gone, kept = completed(store, tmp_path, ttl_s=0), completed(store, tmp_path, project="ben")
    assert swept(store, after_s=3 * HOUR_S).num_expired == 1
    assert (is_there(store, gone), is_there(store, kept)) == (False, True)
    assert store.view(kept.id).record == make_record(make_spec())
    store.remove(kept.id)
    assert ledger.committed_ids(store.storage) == set()
