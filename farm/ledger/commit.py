"""Publishing a clip: the video first, its pictures next, the record last and create-only."""

from __future__ import annotations

import uuid
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from farm.errors import AlreadyExistsError, NotFoundError, TakenOverError
from farm.layout import record_path, unindexed_path
from farm.ledger.states import Turn
from farm.provenance import Record
from farm.storage.base import Storage


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifacts:
    """What a render leaves to publish: the encoded file on a local disk, and the two WebP pictures."""

    video: Path
    thumbnail: bytes
    strip: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """How a publication ended. `record` is the one that stands: ours if `has_won`, else the winner's."""

    has_won: bool
    record: Record


def commit_clip(storage: Storage, record: Record, *, artifacts: Artifacts, turn: Turn | None = None) -> Commit:
    """Publish a clip. Safe to repeat, and to be killed at any point: without its record nothing counts.

    Losing to a rival is no error: the rival's record is returned and our video is left for garbage collection. With a
    `turn` it is looked up after the record was put whether the clip was deleted since that turn began.

    Raises:
        TakenOverError: it was deleted, and our record is gone again.
    """
    winner = read_record(storage, record.clip_id)
    if winner is None:
        storage.put_file(record.video.path, artifacts.video)
        _put_once(storage, record.thumbnail, artifacts.thumbnail)
        _put_once(storage, record.strip, artifacts.strip)
        winner = _claim(storage, record)
        if winner == record and turn is not None and turn.is_deleted():
            _take_back(storage, record)
            raise TakenOverError(f"clip {record.clip_id} was deleted after this worker began it")
    return Commit(has_won=winner == record, record=winner)


def read_record(storage: Storage, clip_id: str) -> Record | None:
    """The clip's commit record, None while it has none."""
    try:
        return Record.from_json(storage.read(record_path(clip_id)))
    except NotFoundError:
        return None


def mark_unindexed(storage: Storage, clip_id: str) -> None:
    """Have readers of the index pass over what it says of a clip. To be done before its record is deleted."""
    storage.create(unindexed_path(clip_id, nonce=uuid.uuid4().hex), b"")


def _take_back(storage: Storage, record: Record) -> None:
    # Whoever deleted the clip may have been quicker, and another may have published it anew since.
    if read_record(storage, record.clip_id) == record:
        mark_unindexed(storage, record.clip_id)
        storage.delete(record_path(record.clip_id))


def _claim(storage: Storage, record: Record) -> Record:
    path = record_path(record.clip_id)
    try:
        storage.create(path, record.to_json())
    except AlreadyExistsError:
        return Record.from_json(storage.read(path))
    return record


def _put_once(storage: Storage, path: str, data: bytes) -> None:
    # A rival's picture shows the same clip; overwriting it would only move pixels under a reader.
    with suppress(AlreadyExistsError):
        storage.create(path, data)
