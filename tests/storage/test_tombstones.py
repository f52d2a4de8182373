"""Deleting clips beside those who publish them, ask for them, list them or delete them too, over every storage."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from example_clips import make_record, make_spec
from example_jobs import Killed, killed_at

from farm import ledger
from farm.errors import TakenOverError
from farm.layout import begin_path, record_path, rows_path, state_path, tombstone_path, video_path
from farm.ledger import Turn, garbage, index, tombstones
from farm.ledger.refs import drop_ref, holders_of, put_ref
from farm.ledger.states import look_at
from farm.ledger.tombstones import delete_clip_if_unheld, is_standing
from farm.provenance import Record
from farm.storage import MemoryStorage, Storage

RECORD = make_record(make_spec(seed=1))
CLIP = RECORD.clip_id


def begin(storage: Storage) -> Turn:
    return ledger.begin_clip(storage, CLIP, worker="here:1")


def publish(storage: Storage, folder: Path, *, turn: Turn | None = None, record: Record = RECORD) -> ledger.Commit:
    spool = folder / f"spool-{uuid.uuid4().hex}"
    spool.write_bytes(b"video")
    artifacts = ledger.Artifacts(video=spool, thumbnail=b"thumb", strip=b"strip")
    done = ledger.commit_clip(storage, record, artifacts=artifacts, turn=turn)
    if turn is not None:
        turn.end()
    return done


def delete(storage: Storage) -> bool:
    return delete_clip_if_unheld(storage, CLIP, by="ann")


def left(storage: Storage) -> list[str]:
    """What lies there, but for tombstones and marks for the index."""
    return sorted(path for path in storage.names() if not path.endswith(".deleted") and "unindexed" not in path)


def test_deletion_deletes_all_of_a_clip(storage: Storage, tmp_path: Path) -> None:
    other = publish(storage, tmp_path, record=make_record(make_spec(seed=2))).record
    before = left(storage)
    turn = begin(storage)
    turn.keep(3, b"latents")
    publish(storage, tmp_path)  # by another, so that marks and a state are left as well
    storage.create(video_path(CLIP, sha256="0" * 64), b"of a lost race")
    ledger.note_attempt(storage, CLIP, ledger.Attempt(error_class="X", reason="", worker="here"))
    ledger.compact(storage, min_new=1)
    before += list(storage.names("index"))
    assert delete(storage)
    assert left(storage) == sorted(before)
    assert ledger.read_record(storage, CLIP) is None
    assert ledger.committed_ids(storage) == {other.clip_id}
    assert ledger.committed_ids(storage, among=[CLIP, other.clip_id]) == {other.clip_id}
    assert [row["clip_id"] for row in ledger.read_records(storage)] == [other.clip_id]
    assert list(ledger.read_records(storage, [CLIP])) == []
    assert ledger.kept_states(storage, CLIP) == ()
    assert delete(storage), "again is harmless"
    assert left(storage) == sorted(before)


def test_nothing_is_deleted_of_a_clip_that_someone_holds(storage: Storage, tmp_path: Path) -> None:
    publish(storage, tmp_path)
    put_ref(storage, CLIP, "ann--video_1")
    put_ref(storage, CLIP, "ben--video_2")
    before = sorted(storage.names())
    assert not delete(storage)
    drop_ref(storage, CLIP, "ann--video_1")
    assert holders_of(storage, CLIP) == {"ben--video_2"}
    assert not delete(storage)
    assert sorted(storage.names()) == sorted(set(before) - {f"refs/{CLIP}/ann--video_1"})
    drop_ref(storage, CLIP, "ben--video_2")
    assert delete(storage)


def test_a_run_holds_what_its_plan_lists(storage: Storage, tmp_path: Path) -> None:
    def plan(run_id: str, clip_ids: list[str]) -> None:
        sink = pa.BufferOutputStream()
        pq.write_table(pa.table({"row": range(len(clip_ids)), "clip_id": clip_ids}), sink)
        storage.replace(rows_path(run_id), sink.getvalue().to_pybytes())

    publish(storage, tmp_path)
    others = [make_spec(seed=seed).clip_id for seed in range(10, 15)]
    plan("r1", others)
    plan("r2", [])
    storage.create("runs/r3/run.json", b"{}")
    holders = ledger.Holders(storage)
    assert not holders.is_held(CLIP)
    plan("r2", [*others[:2], CLIP, *others[2:]])
    assert list(holders.runs_with(CLIP)) == ["r2"]
    assert not delete_clip_if_unheld(storage, CLIP, by="ann", holders=holders)
    assert ledger.read_record(storage, CLIP) == RECORD
    assert delete_clip_if_unheld(storage, others[0] + "0", by="ann") is False


def test_a_publisher_who_began_before_the_deletion_loses(storage: Storage, tmp_path: Path) -> None:
    stale = begin(storage)
    stale.keep(3, b"latents")
    publish(storage, tmp_path)
    assert delete(storage)
    before = sorted(storage.names())
    for attempt in (stale.check, lambda: stale.keep(4, b"more")):
        with pytest.raises(TakenOverError):
            attempt()
    assert sorted(storage.names()) == before
    with pytest.raises(TakenOverError, match="deleted"):
        publish(storage, tmp_path, turn=stale)
    assert ledger.committed_ids(storage) == set()
    assert ledger.read_record(storage, CLIP) is None


def test_a_publisher_who_began_after_the_deletion_takes_its_place(storage: Storage, tmp_path: Path) -> None:
    publish(storage, tmp_path, turn=begin(storage))
    assert delete(storage)
    heir = begin(storage)
    heir.keep(3, b"latents")
    heir.check()
    assert not is_standing(storage, CLIP)
    assert publish(storage, tmp_path, turn=heir).has_won
    assert is_standing(storage, CLIP)
    assert list(storage.names("state")) == []


@pytest.mark.parametrize("num_turns", [1, 3])
def test_a_worker_from_before_a_commit_and_a_deletion_loses(storage: Storage, tmp_path: Path, num_turns: int) -> None:
    """After a commit the turns count from 1 again; a deletion must still be above those of before."""
    stale = [begin(storage) for _ in range(num_turns)][-1]
    publish(storage, tmp_path, turn=begin(storage))
    assert delete(storage)
    publish(storage, tmp_path, turn=begin(storage))
    assert delete(storage)
    with pytest.raises(TakenOverError):
        stale.check()
    with pytest.raises(TakenOverError):
        publish(storage, tmp_path, turn=stale)
    assert ledger.committed_ids(storage) == set()


def test_states_from_before_a_deletion_are_not_gone_on_from(storage: Storage) -> None:
    begin(storage).keep(3, b"latents")
    storage.create(tombstone_path(CLIP, epoch=7), b"put just now")
    heir = begin(storage)
    assert (heir.epoch, list(heir.states()), heir.has_predecessor_kept) == (8, [], False)


def test_a_turn_and_a_deletion_of_one_number(storage: Storage) -> None:
    turn = begin(storage)
    storage.create(tombstone_path(CLIP, epoch=turn.epoch), b"put in the same moment")
    with pytest.raises(TakenOverError):
        turn.check()
    assert begin(storage).epoch == turn.epoch + 1


def on_create(storage: Storage, monkeypatch: pytest.MonkeyPatch, suffix: str, call: Callable[[], object]) -> None:
    """Have something happen just after the first file of that kind was put."""
    create = storage.create

    def noticed(path: str, data: bytes) -> None:
        create(path, data)
        if path.endswith(suffix):
            monkeypatch.setattr(storage, "create", create)
            call()

    monkeypatch.setattr(storage, "create", noticed)


def test_a_deletion_between_the_record_and_the_look_after_it(
    storage: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    turn = begin(storage)
    on_create(storage, monkeypatch, f"{CLIP}.json", lambda: delete(storage))
    with pytest.raises(TakenOverError):
        publish(storage, tmp_path, turn=turn)
    assert (ledger.committed_ids(storage), look_at(storage, CLIP).is_deleted) == (set(), True)


def test_a_record_that_another_published_since_is_not_taken_back(
    storage: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    turn = begin(storage)
    theirs = make_record(make_spec(seed=1), host="there")

    def delete_and_publish() -> None:
        assert delete(storage)
        assert publish(storage, tmp_path, turn=begin(storage), record=theirs).has_won
        assert delete(storage)
        assert publish(storage, tmp_path, turn=begin(storage), record=theirs).has_won
        storage.create(tombstone_path(CLIP, epoch=2 * 10**9), b"and somebody deletes it just now")

    on_create(storage, monkeypatch, f"{CLIP}.json", delete_and_publish)
    with pytest.raises(TakenOverError):
        publish(storage, tmp_path, turn=turn)
    assert ledger.read_record(storage, CLIP) == theirs


def test_a_ref_that_comes_before_the_second_look_keeps_the_clip(
    storage: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(storage, tmp_path)
    said = list[bool]()

    def ask() -> None:
        put_ref(storage, CLIP, "ann--video_1")
        said.append(is_standing(storage, CLIP))

    on_create(storage, monkeypatch, ".deleted", ask)
    assert not delete(storage)
    assert (said, is_standing(storage, CLIP)) == ([False], True)
    assert ledger.read_record(storage, CLIP) == RECORD


def test_who_is_told_that_a_clip_stands_keeps_it(storage: Storage, tmp_path: Path) -> None:
    for turn in range(4):
        publish(storage, tmp_path, turn=begin(storage))
        start = threading.Barrier(6)

        def ask(number: int, turn: int = turn, start: threading.Barrier = start) -> str | None:
            start.wait()
            put_ref(storage, CLIP, f"p--{turn}-{number}")
            if is_standing(storage, CLIP):
                return f"p--{turn}-{number}"
            drop_ref(storage, CLIP, f"p--{turn}-{number}")
            return None

        def remove(_: int, start: threading.Barrier = start) -> None:
            start.wait()
            delete(storage)

        with ThreadPoolExecutor(6) as pool:
            removals = [pool.submit(remove, number) for number in range(3)]
            told = [holder for holder in pool.map(ask, range(3)) if holder is not None]
            for removal in removals:
                removal.result()
        assert (ledger.read_record(storage, CLIP) is not None) or not told
        if told:
            assert is_standing(storage, CLIP)
            assert storage.read(RECORD.video.path) == b"video"
        for holder in told:
            drop_ref(storage, CLIP, holder)
        assert delete(storage)


@pytest.mark.parametrize("after", [False, True])
def test_a_deletion_that_dies_anywhere_is_finished_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: bool
) -> None:
    for number in range(1, 30):
        storage = MemoryStorage(uuid.uuid4().hex)
        begin(storage).keep(3, b"latents")
        publish(storage, tmp_path)
        has_died = False
        with killed_at(storage, number, after=after):
            try:
                delete(storage)
            except Killed:
                has_died = True
        assert delete(storage)
        assert left(storage) == []
        publish(storage, tmp_path, turn=begin(storage))
        assert is_standing(storage, CLIP)
        if not has_died:
            break
    else:
        pytest.fail("it never ended")
    assert number > 7


@pytest.mark.parametrize("after", [False, True])
def test_a_clip_whose_deletion_died_before_it_was_gone_can_be_held_again(tmp_path: Path, after: bool) -> None:
    outcomes = set()
    for number in range(1, 30):
        storage = MemoryStorage(uuid.uuid4().hex)
        publish(storage, tmp_path, turn=begin(storage))
        with killed_at(storage, number, after=after):
            try:
                has_died = not delete(storage)
            except Killed:
                has_died = True
        put_ref(storage, CLIP, "ann--video_1")
        storage.advance(tombstones.LEFT_BEHIND_S + 1)
        assert not delete(storage)
        is_there = ledger.read_record(storage, CLIP) is not None
        assert is_standing(storage, CLIP) == is_there
        outcomes.add(is_there)
        if not has_died:
            break
    assert outcomes == {True, False}


def test_the_index_is_not_believed_of_a_clip_that_came_again(
    storage: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = publish(storage, tmp_path, record=make_record(make_spec(seed=2))).record
    publish(storage, tmp_path, turn=begin(storage))
    assert ledger.compact(storage, min_new=1) == 2
    assert delete(storage)
    again = make_record(make_spec(seed=1), device="nvidia-h100")
    publish(storage, tmp_path, turn=begin(storage), record=again)

    def found() -> dict[str, Record]:
        return {row["clip_id"]: Record.model_validate(row) for row in ledger.read_records(storage)}

    assert found() == {CLIP: again, other.clip_id: other}
    assert ledger.compact(storage, min_new=1) == 0, "a compaction that began before the deletion may still be at work"
    assert [clip_id for clip_id, _ in index._indexed(storage)] == [other.clip_id]
    assert found() == {CLIP: again, other.clip_id: other}
    monkeypatch.setattr(index, "UNINDEXED_S", -5.0)
    ledger.compact(storage, min_new=1)
    assert list(storage.names("unindexed")) == []
    assert ledger.compact(storage, min_new=1) == 1
    assert sorted(clip_id for clip_id, _ in index._indexed(storage)) == sorted([CLIP, other.clip_id])
    assert found() == {CLIP: again, other.clip_id: other}


def test_gc_finishes_a_deletion_that_died(storage: Storage, tmp_path: Path) -> None:
    publish(storage, tmp_path)
    storage.create(tombstone_path(CLIP, epoch=1), b"and then its process was killed")
    assert [item.reason for item in ledger.find_garbage(storage)] == []
    removed = ledger.collect_garbage(storage, grace_s=-2.0)
    assert [(item.path, item.reason) for item in removed] == [(record_path(CLIP), garbage._DELETED)]
    assert left(storage) == []


def test_gc_keeps_a_clip_whose_deletion_died_and_that_someone_holds(tmp_path: Path) -> None:
    storage = MemoryStorage(uuid.uuid4().hex)
    publish(storage, tmp_path)
    put_ref(storage, CLIP, "ann--video_1")
    storage.create(tombstone_path(CLIP, epoch=1), b"and then its process was killed")
    storage.advance(tombstones.LEFT_BEHIND_S + 1)
    assert ledger.collect_garbage(storage, grace_s=-2.0) == []
    assert is_standing(storage, CLIP)


def test_gc_removes_tombstones_when_nobody_can_be_left_from_before(storage: Storage) -> None:
    storage.create(begin_path(CLIP, epoch=1), b"")
    storage.create(state_path(CLIP, epoch=1, step=4), b"latents")
    storage.create(tombstone_path(CLIP, epoch=2), b"")
    assert ledger.collect_garbage(storage, grace_s=-2.0) == []
    removed = [item.path for item in ledger.collect_garbage(storage, stale_state_s=-2.0)]
    assert removed[-1] == tombstone_path(CLIP, epoch=2), "or the mark would be the highest"
    assert list(storage.names()) == []
