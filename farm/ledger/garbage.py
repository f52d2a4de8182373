"""What nobody will ask for: videos of lost races and of publishers that died half way, and states without a future."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from farm.layout import CLIPS, STATE, STATE_SUFFIX, THUMBS, VIDEO_SUFFIX, clip_id_of, record_path
from farm.ledger.commit import read_record
from farm.ledger.index import committed_ids
from farm.ledger.parallel import map_in_order
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
        storage.delete(garbage.path)
        removed.append(garbage)
    storage.sweep(older_than_s=grace_s)
    return removed


_NO_RECORD = "its clip has no record"
_COMMITTED = "its clip is committed"
_STALE = "nobody has gone on from it for a long time"
_LOST = "it lost the race: the record names another video"


def _states(storage: Storage, committed: set[str], *, newest_s: float, stale_s: float) -> Iterator[Garbage]:
    # Marks of clips without a record stay: whoever begins such a clip must get a higher number.
    for entry in storage.list(STATE):
        if clip_id_of(entry.path) in committed and entry.mtime_s <= newest_s:
            yield Garbage(path=entry.path, size_bytes=entry.size_bytes, reason=_COMMITTED)
        elif entry.path.endswith(STATE_SUFFIX) and entry.mtime_s <= stale_s:
            yield Garbage(path=entry.path, size_bytes=entry.size_bytes, reason=_STALE)


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
