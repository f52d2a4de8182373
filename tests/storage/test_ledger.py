"""The ledger over every storage: publication, its races, listings, compaction, dead letters, attempts, garbage."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from example_clips import make_record, make_spec

from farm import ledger
from farm.layout import record_path, thumbnail_path, video_path
from farm.ledger import index
from farm.provenance import Record, Worker, comparable, is_same_execution
from farm.storage import MemoryStorage, Storage


def commit(
    storage: Storage, tmp_path: Path, *, seed: int = 0, video: bytes = b"video", host: str = "here"
) -> ledger.Commit:
    spool = tmp_path / f"spool-{host}"
    spool.write_bytes(video)
    artifacts = ledger.Artifacts(video=spool, thumbnail=b"thumb", strip=b"strip")
    record = make_record(make_spec(seed=seed), video=video, host=host)
    return ledger.commit_clip(storage, record, artifacts=artifacts)


def test_commit_publishes_video_pictures_and_record(storage: Storage, tmp_path: Path) -> None:
    done = commit(storage, tmp_path)
    assert done.has_won
    record = ledger.read_record(storage, done.record.clip_id)
    assert record == done.record
    assert storage.read(record.video.path) == b"video"
    assert storage.read(record.thumbnail) == b"thumb"
    assert storage.read(record.strip) == b"strip"
    assert ledger.read_record(storage, "ff" * 16) is None


def test_commit_again_is_harmless(storage: Storage, tmp_path: Path) -> None:
    assert commit(storage, tmp_path).has_won
    assert commit(storage, tmp_path).has_won
    assert len(list(storage.names("clips"))) == 2


def test_the_loser_of_a_race_gets_the_winners_record(storage: Storage, tmp_path: Path) -> None:
    start = threading.Barrier(8)

    def contend(number: int) -> ledger.Commit:
        start.wait()
        return commit(storage, tmp_path, video=b"video %d" % number, host=f"host{number}")

    with ThreadPoolExecutor(8) as pool:
        commits = list(pool.map(contend, range(8)))
    winners = [done for done in commits if done.has_won]
    assert len(winners) == 1
    assert {done.record.worker.host for done in commits} == {winners[0].record.worker.host}
    assert storage.read(winners[0].record.video.path).startswith(b"video ")


def test_committed_ids_are_those_with_a_record(storage: Storage, tmp_path: Path) -> None:
    ids = {commit(storage, tmp_path, seed=seed).record.clip_id for seed in range(5)}
    orphan = make_spec(seed=99).clip_id
    storage.create(video_path(orphan, sha256="0" * 64), b"no record yet")
    assert ledger.committed_ids(storage) == ids
    some = set(sorted(ids)[:2])
    assert ledger.committed_ids(storage, among=some | {orphan}) == some
    many = {make_spec(seed=seed).clip_id for seed in range(100)}
    assert ledger.committed_ids(storage, among=many) == ids & many
    assert ledger.committed_ids(MemoryStorage("empty")) == set()


def test_records_come_from_the_index_and_from_newer_files(storage: Storage, tmp_path: Path) -> None:
    old = {commit(storage, tmp_path, seed=seed).record.clip_id for seed in range(3)}
    assert ledger.compact(storage, min_new=4) == 0
    assert ledger.compact(storage, min_new=3) == 3
    new = commit(storage, tmp_path, seed=7).record
    rows = {row["clip_id"]: row for row in ledger.read_records(storage)}
    assert set(rows) == old | {new.clip_id}
    assert Record.model_validate(rows[new.clip_id]) == new
    only = list(ledger.read_records(storage, old))
    assert {row["clip_id"] for row in only} == old


def test_index_never_outlives_its_records(storage: Storage, tmp_path: Path) -> None:
    gone = commit(storage, tmp_path).record.clip_id
    ledger.compact(storage, min_new=1)
    storage.delete(record_path(gone))
    assert list(ledger.read_records(storage)) == []


def test_small_parts_of_the_index_are_merged(tmp_path: Path) -> None:
    storage = MemoryStorage("merged")
    num_parts = index.MAX_SMALL_PARTS + 1
    for seed in range(num_parts):
        commit(storage, tmp_path, seed=seed)
        assert ledger.compact(storage, min_new=1) == 1
    assert len(list(storage.names("index"))) == 1
    assert len(list(ledger.read_records(storage))) == num_parts


def test_dead_letters(storage: Storage) -> None:
    spec = make_spec(seed=1)
    letter = ledger.DeadLetter(
        clip_id=spec.clip_id,
        run_id="r1",
        row={"id": "x"},
        error_class="InputError",
        message="the image is none",
        traceback="Traceback ...",
        attempts=1,
        worker="here",
        failed_at="2026-01-01T00:00:00Z",
        command=ledger.reproducing_command("s3://b/my run", spec.clip_id),
    )
    assert ledger.failed_ids(storage) == set()
    ledger.write_failure(storage, letter)
    ledger.write_failure(storage, letter.model_copy(update={"attempts": 2}))
    assert ledger.failed_ids(storage) == {spec.clip_id}
    assert [found.attempts for found in ledger.read_failures(storage)] == [2]
    assert letter.command == f"wanfarm retry 's3://b/my run' --clip {spec.clip_id} --here"
    ledger.clear_failure(storage, spec.clip_id)
    assert ledger.read_failure(storage, spec.clip_id) is None


def test_attempts_are_counted_apart_even_when_noted_at_once(storage: Storage) -> None:
    def note(number: int) -> int:
        attempt = ledger.Attempt(error_class="RankLostError", reason=f"rank {number} was killed", worker="here")
        return ledger.note_attempt(storage, "ab" * 16, attempt)

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(note, range(4))) == [1, 2, 3, 4]
    assert ledger.count_attempts(storage, "ab" * 16) == 4
    reasons = {attempt.reason for attempt in ledger.read_attempts(storage, "ab" * 16)}
    assert reasons == {f"rank {number} was killed" for number in range(4)}
    ledger.clear_attempts(storage, "ab" * 16)
    assert ledger.count_attempts(storage, "ab" * 16) == 0


def test_garbage_is_what_no_record_names(storage: Storage, tmp_path: Path) -> None:
    record = commit(storage, tmp_path).record
    loser = video_path(record.clip_id, sha256="1" * 64)
    orphan = make_spec(seed=5).clip_id
    files = {loser, video_path(orphan, sha256="2" * 64), thumbnail_path(orphan)}
    for path in files:
        storage.create(path, b"x")
    assert list(ledger.find_garbage(storage)) == []
    assert {garbage.path for garbage in ledger.find_garbage(storage, grace_s=-2.0)} == files
    assert {garbage.path for garbage in ledger.collect_garbage(storage, grace_s=-2.0)} == files
    assert storage.read(record.video.path) == b"video"
    assert not files.intersection(storage.names())


def test_comparable_hides_circumstances_alone() -> None:
    here = make_record(host="here")
    there = here.model_copy(
        update={
            "worker": Worker(host="there", pid=9),
            "committed_at": "2027",
            "timings": {"denoise": 9.0},
            "device_seconds": 9.0,
            "cost": 1.0,
            "attempts": 3,
            "resumed_at": (4,),
            "lost_steps": 2,
            "discarded": ("the state after step 9",),
        }
    )
    assert comparable(here) == comparable(there)
    assert comparable(here) != comparable(make_record(video=b"other"))
    assert comparable(here) != comparable(make_record(device="nvidia-h100"))
    assert is_same_execution(here, there)
    assert not is_same_execution(here, make_record(device="nvidia-h100"))


@pytest.mark.parametrize("extra", ["quantisation"])
def test_a_newer_releases_record_keeps_its_fields(extra: str) -> None:
    record = make_record()
    data = record.to_json().replace(b'"degree": 1,', b'"degree": 1, "%s": "int8",' % extra.encode())
    newer = Record.from_json(data)
    assert not is_same_execution(newer, record)
    assert Record.from_json(newer.to_json()) == newer
