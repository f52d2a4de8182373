"""Pictures of jobs over every storage: kept for as long as a job names them, and no longer."""

from __future__ import annotations

import hashlib
import uuid
from contextlib import suppress

import pytest
from example_clips import make_spec
from example_jobs import Killed, killed_at, make_job

from farm.errors import IdempotencyConflict, NotFoundError, TransientError
from farm.ledger.refs import holders_of, put_ref
from farm.queue.idempotency import IdempotencyKey
from farm.queue.job import Job
from farm.queue.retention import sweep
from farm.queue.store import JobStore
from farm.spec import AssetRef
from farm.storage import MemoryStorage, Storage

DATA = b"\x89PNG picture"
DIGEST = hashlib.sha256(DATA).hexdigest()
PATH = f"inputs/{DIGEST}.png"
DAY_S = 24 * 3600.0


def upload(store: JobStore) -> None:
    store.storage.create(PATH, DATA)


def with_picture(store: JobStore, *, uri: str | None = None, **asked: object) -> Job:
    image = AssetRef(uri=uri or store.storage.uri_of(PATH), sha256=DIGEST)
    return make_job(store, spec=make_spec(image=image), **asked)


def end_and_remove(store: JobStore, job: Job) -> None:
    store.wish_cancel(job.id, by="ann")
    store.remove(job.id)


def key_of(request: bytes = b"{}") -> IdempotencyKey:
    return IdempotencyKey.of("k", project="ann", request=request)


def test_a_picture_goes_with_the_last_job_that_has_it(storage: Storage) -> None:
    store = JobStore(storage)
    upload(store)
    one, other = store.submit(with_picture(store)), store.submit(with_picture(store, project="ben"))
    end_and_remove(store, one)
    assert storage.read(PATH) == DATA
    end_and_remove(store, other)
    assert list(storage.names()) == []


def test_a_picture_from_elsewhere_is_not_ours_to_delete(storage: Storage) -> None:
    store = JobStore(storage)
    upload(store)
    for uri in (f"https://example.org/{DIGEST}.png", f"elsewhere/{PATH}", storage.uri_of("clips/x.png")):
        end_and_remove(store, store.submit(with_picture(store, uri=uri)))
    assert list(storage.names()) == [PATH]


def test_a_job_whose_picture_is_gone_is_not_taken(storage: Storage) -> None:
    store = JobStore(storage)
    with pytest.raises(TransientError, match="send it again"):
        store.submit(with_picture(store), idempotency=key_of())
    assert list(storage.names()) == []


def test_a_repeated_request_holds_its_picture_once(storage: Storage) -> None:
    store = JobStore(storage)
    upload(store)
    first = store.submit(with_picture(store), idempotency=key_of())
    assert store.submit(with_picture(store), idempotency=key_of()) == first
    assert store.submit(first, idempotency=key_of()) == first
    with pytest.raises(IdempotencyConflict):
        store.submit(with_picture(store), idempotency=key_of(b"[]"))
    assert holders_of(storage, DIGEST) == {f"ann--{first.id}"}
    end_and_remove(store, first)
    assert list(storage.names()) == []


@pytest.mark.parametrize("after", [False, True])
def test_a_submission_that_died_is_finished_with_its_picture(after: bool) -> None:
    for number in range(1, 20):
        store = JobStore(MemoryStorage(uuid.uuid4().hex))
        upload(store)
        has_died = False
        with killed_at(store.storage, number, after=after):
            try:
                store.submit(with_picture(store), idempotency=key_of())
            except Killed:
                has_died = True
        job = store.submit(with_picture(store), idempotency=key_of())
        assert f"ann--{job.id}" in holders_of(store.storage, DIGEST)
        assert store.open_ids() == {job.id}
        end_and_remove(store, job)
        sweep(store, now_s=store.storage.now() + 2 * DAY_S)
        assert list(store.storage.names()) == []
        if not has_died:
            return
    pytest.fail("it never ended")


def test_pictures_that_no_job_came_for_go_after_a_day(storage: Storage) -> None:
    store = JobStore(storage)
    upload(store)
    put_ref(storage, DIGEST, f"ann--{store.new_id('ann')}")  # whoever put it died before the submission
    assert sweep(store).num_inputs == 0
    job = store.submit(with_picture(store))
    assert sweep(store, now_s=storage.now() + 2 * DAY_S).num_inputs == 0
    assert holders_of(storage, DIGEST) == {f"ann--{job.id}"}
    store.wish_cancel(job.id, by="ann")
    assert sweep(store, now_s=storage.now() + 2 * DAY_S).num_inputs == 0, "an ended job still has its picture"
    store.remove(job.id)
    assert list(storage.names()) == []
    upload(store)
    assert sweep(store, now_s=storage.now() + 2 * DAY_S).num_inputs == 1
    assert list(storage.names()) == []


def test_a_picture_that_is_held_in_the_moment_of_its_deletion_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    storage = MemoryStorage(uuid.uuid4().hex)
    store = JobStore(storage)
    upload(store)
    gone, coming = store.submit(with_picture(store)), with_picture(store)
    delete = storage.delete

    def late(path: str) -> None:
        delete(path)
        if path == PATH:
            monkeypatch.setattr(storage, "delete", delete)
            with suppress(TransientError):
                store.submit(coming)

    monkeypatch.setattr(storage, "delete", late)
    end_and_remove(store, gone)
    has_been_taken = coming.id in store.open_ids()
    assert storage.exists(PATH) or not has_been_taken
    with pytest.raises(NotFoundError):
        store.get(gone.id)


def test_a_replay_of_an_ended_job_opens_nothing(storage: Storage) -> None:
    store = JobStore(storage)
    job = store.submit(make_job(store), idempotency=key_of())
    store.wish_cancel(job.id, by="ann")
    assert store.submit(job, idempotency=key_of()) == job
    assert store.open_ids() == set()
