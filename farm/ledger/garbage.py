"""What nobody will ask for: videos of lost races and of publishers that died half way, and states without a future."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from farm.layout import (
    CLIPS,
    RECORD_SUFFIX,
    STATE,
    STATE_SUFFIX,
    THUMBS,
    TOMBSTONE_SUFFIX,
    VIDEO_SUFFIX,
    clip_id_of,
    record_path,
)
from farm.ledger.commit import read_record
from farm.ledger.index import committed_ids
from farm.ledger.parallel import map_in_order
from farm.ledger.states import look_at
from farm.ledger.tombstones import delete_clip_if_unheld
from farm.storage.base import Entry, Storage

# Longer than any publication takes, so that a video whose record is on its way is never taken for garbage.
GRACE_S = 24 * 3600.0

# A paused run's clips go on from their states; one that nobody resumed for so long begins them anew.
STALE_STATE_S = 7 * 24 * 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Garbage:
    """A file that can go, and why."""

    path: str
    size_bytes: int
    reason: str


def find_garbage(
    storage: Storage, *, grace_s: float = GRACE_S, stale_state_s: float = STALE_STATE_S
) -> Iterator[Garbage]:
    """Videos and pictures of clips without a record, videos that their clip's record does not name, and old states."""
    now_s = storage.now()
    newest_s = now_s - grace_s
    committed = committed_ids(storage)
    for folder in (CLIPS, THUMBS):
        shards = [f"{folder}/{shard}" for shard in storage.folders(folder)]
        for entries in map_in_order(lambda shard: list(storage.list(shard)), shards):
            old = [entry for entry in entries if entry.mtime_s <= newest_s]
            yield from _without_record(old, committed)
            yield from _losers(storage, entries, committed, newest_s)
    yield from _states(storage, committed, newest_s=newest_s, stale_s=now_s - stale_state_s)


def collect_garbage(
    storage: Storage, *, grace_s: float = GRACE_S, stale_state_s: float = STALE_STATE_S
) -> list[Garbage]:
    """Remove garbage and stale temporaries; returns the garbage that was removed."""
    removed = []
    for garbage in find_garbage(storage, grace_s=grace_s, stale_state_s=stale_state_s):
        # The listing is minutes old in a large output: a record may have come since.
        if garbage.reason == _NO_RECORD and storage.exists(record_path(clip_id_of(garbage.path))):
            continue
        if garbage.path.endswith(RECORD_SUFFIX):
            if not _is_deleted_now(storage, clip_id_of(garbage.path)):
                continue
        else:
            storage.delete(garbage.path)
        removed.append(garbage)
    storage.sweep(older_than_s=grace_s)
    return removed


def _is_deleted_now(storage: Storage, clip_id: str) -> bool:
    """Finish the deletion of a clip that was left half way; False where someone holds it now."""
    return look_at(storage, clip_id).is_deleted and delete_clip_if_unheld(storage, clip_id, by="gc")


_NO_RECORD = "its clip has no record"
_COMMITTED = "its clip is committed"
_DELETED = "its clip was deleted"
_STALE = "nobody has gone on from it for a long time"
_LOST = "it lost the race: the record names another video"


def _states(storage: Storage, committed: set[str], *, newest_s: float, stale_s: float) -> Iterator[Garbage]:
    clips: defaultdict[str, list[Entry]] = defaultdict(list)
    for entry in storage.list(STATE):
        clips[clip_id_of(entry.path)].append(entry)
    for clip_id, entries in clips.items():
        tombstone = _newest_tombstone(entries)
        # Tombstones before marks, and those upwards: a kill in between must put no other in the highest one's place.
        entries.sort(key=lambda entry: (not entry.path.endswith(TOMBSTONE_SUFFIX), entry.path))
        if clip_id not in committed:
            yield from _of_nobody(entries, tombstone, stale_s)
        elif tombstone is None:
            yield from (_garbage(entry, _COMMITTED) for entry in entries if entry.mtime_s <= newest_s)
        elif tombstone.mtime_s <= newest_s:  # its deletion died before it had deleted the record
            path = record_path(clip_id)
            yield Garbage(path=path, size_bytes=0, reason=_DELETED)


def _of_nobody(entries: list[Entry], tombstone: Entry | None, stale_s: float) -> Iterator[Garbage]:
    # Marks stay: whoever begins the clip must get a higher number. But who was away since before its deletion for so
    # long that the tombstone may go finds his own mark gone as well, and stops for that.
    is_over = tombstone is not None and tombstone.mtime_s <= stale_s
    for entry in reversed(entries):
        if is_over or (entry.path.endswith(STATE_SUFFIX) and entry.mtime_s <= stale_s):
            yield _garbage(entry, _DELETED if is_over else _STALE)


def _newest_tombstone(entries: list[Entry]) -> Entry | None:
    """The mark of the clip's deletion, None where it was not deleted or has been begun since."""
    marks = [entry for entry in entries if not entry.path.endswith(STATE_SUFFIX)]
    newest = max(marks, key=lambda entry: (_number_of(entry), entry.path.endswith(TOMBSTONE_SUFFIX)), default=None)
    return newest if newest is not None and newest.path.endswith(TOMBSTONE_SUFFIX) else None


def _number_of(mark: Entry) -> int:
    return int(mark.path.rsplit(".", 1)[0].rsplit("-", 1)[1])


def _garbage(entry: Entry, reason: str) -> Garbage:
    return Garbage(path=entry.path, size_bytes=entry.size_bytes, reason=reason)


def _without_record(entries: list[Entry], committed: set[str]) -> Iterator[Garbage]:
    for entry in entries:
        if clip_id_of(entry.path) not in committed and not entry.path.endswith(".json"):
            yield Garbage(path=entry.path, size_bytes=entry.size_bytes, reason=_NO_RECORD)


def _losers(storage: Storage, entries: list[Entry], committed: set[str], newest_s: float) -> Iterator[Garbage]:
    videos: defaultdict[str, list[Entry]] = defaultdict(list)
    for entry in entries:
        if entry.path.endswith(VIDEO_SUFFIX):
            videos[clip_id_of(entry.path)].append(entry)
    for clip_id, rivals in videos.items():
        record = read_record(storage, clip_id) if len(rivals) > 1 and clip_id in committed else None
        if record is None:
            continue
        for entry in rivals:
            if entry.path != record.video.path and entry.mtime_s <= newest_s:
                yield Garbage(path=entry.path, size_bytes=entry.size_bytes, reason=_LOST)
