"""Deleting a clip that nobody holds any more, beside those who publish it, ask for it, or delete it too.

A deletion takes the next number of the clip's turns (`farm.ledger.states`) by OUT/state/ab/<clip_id>-<epoch>.deleted,
create-only, then goes on in this order:

1. the tombstone; 2. look again who holds the clip: if anybody, the tombstone goes and nothing has happened;
3. the record: from here on the clip is not there; 4. unless someone has begun it anew: its videos, pictures, states,
marks of turns before the tombstone, dead letter and attempts. The tombstone stays.

- A publisher whose turn has a lower number puts its record and then looks at the marks. Either it sees the tombstone
  and takes its record back, or the tombstone came after that look, and step 3 with it.
- One whose turn has a higher number began after the deletion: its record stands, and takes the tombstone away.
- Who wants to be answered by a clip that is there puts a ref and then asks `is_standing`. Either step 2 sees the ref,
  or `is_standing` sees the tombstone and says no.

A tombstone's number is the time in seconds where that is more than the next: a committed clip's marks are removed, so
that turns count from 1 again, but a worker from before must not come out above a deletion after.

So a record is there or not for all who list or read it, and none of them needs to know of tombstones. Those who died
in between leave a tombstone and a record: whoever deletes next goes on, and `find_garbage` finds it after a day.
Requests to the storage: 7 listings (refs twice, states four times, videos), 1 look at the clock, a look at each run's
plan twice, 2 puts, and 1 deletion for each file.
"""

from __future__ import annotations

import json
import time
import uuid

from farm.errors import AlreadyExistsError
from farm.layout import (
    CLIPS,
    TOMBSTONE_SUFFIX,
    begin_path,
    clip_id_of,
    record_path,
    state_folder,
    strip_path,
    thumbnail_path,
    tombstone_path,
)
from farm.ledger.attempts import clear_attempts
from farm.ledger.commit import mark_unindexed
from farm.ledger.failures import clear_failure
from farm.ledger.holding import Holders
from farm.ledger.refs import holders_of
from farm.ledger.states import look_at
from farm.storage.base import Storage

# A deletion that was away for longer looks again before it deletes, so that an older tombstone is a dead one's.
AWAY_S = 20.0
LEFT_BEHIND_S = 60.0


def is_standing(storage: Storage, clip_id: str) -> bool:
    """Whether the clip is there, and stays for whoever has put a ref before asking. 1 look and 1 listing."""
    return storage.exists(record_path(clip_id)) and not look_at(storage, clip_id).is_deleted


def delete_clip_if_unheld(storage: Storage, clip_id: str, *, by: str, holders: Holders | None = None) -> bool:
    """Leave nothing of a clip that nobody holds; False where someone does. Harmless to repeat, also after a death.

    Args:
        by: who deletes it, for people who look into the tombstone.
        holders: of this output, where its memory of plans is worth keeping.
    """
    holders = holders or Holders(storage)
    if holders.is_held(clip_id):
        _withdraw(storage, clip_id, None)
        return False
    if not storage.exists(record_path(clip_id)) and look_at(storage, clip_id).newest == 0:
        _delete_letters(storage, clip_id)
        return True
    epoch = _put_tombstone(storage, clip_id, by=by)
    if not _delete_record(storage, clip_id, holders):
        _withdraw(storage, clip_id, epoch)
        return False
    if max(look_at(storage, clip_id).begun, default=0) <= epoch:
        _delete_files(storage, clip_id)
        _delete_marks(storage, clip_id, before=epoch)
        _delete_letters(storage, clip_id)
    return True


def _put_tombstone(storage: Storage, clip_id: str, *, by: str) -> int:
    data = json.dumps({"by": by, "nonce": uuid.uuid4().hex}).encode()
    while True:
        epoch = max(look_at(storage, clip_id).newest + 1, int(storage.now()))
        try:
            storage.create(tombstone_path(clip_id, epoch=epoch), data)
        except AlreadyExistsError:  # another deletes it in the same moment; after it, then
            continue
        return epoch


def _delete_record(storage: Storage, clip_id: str, holders: Holders) -> bool:
    """False where someone holds the clip. What is known of that must be fresh when the record goes."""
    mark_unindexed(storage, clip_id)
    if next(holders.runs_with(clip_id), None) is not None:
        return False
    while True:
        looked_s = time.monotonic()
        if holders_of(storage, clip_id):
            return False
        if time.monotonic() - looked_s < AWAY_S:
            storage.delete(record_path(clip_id))
            return True


def _withdraw(storage: Storage, clip_id: str, epoch: int | None) -> None:
    """Take back our tombstone, and those of deletions that died before step 3: the clip could never stand again."""
    if epoch is not None:
        storage.delete(tombstone_path(clip_id, epoch=epoch))
    if is_standing(storage, clip_id) or not storage.exists(record_path(clip_id)):
        return
    now_s = storage.now()
    for entry in list(storage.list(state_folder(clip_id))):
        is_tombstone = entry.path.endswith(TOMBSTONE_SUFFIX) and clip_id_of(entry.path) == clip_id
        if is_tombstone and now_s - entry.mtime_s > LEFT_BEHIND_S:
            storage.delete(entry.path)


def _delete_files(storage: Storage, clip_id: str) -> None:
    for path in list(storage.names(f"{CLIPS}/{clip_id[:2]}")):
        if clip_id_of(path) == clip_id and path != record_path(clip_id):
            storage.delete(path)
    storage.delete(thumbnail_path(clip_id))
    storage.delete(strip_path(clip_id))


def _delete_marks(storage: Storage, clip_id: str, *, before: int) -> None:
    marks = look_at(storage, clip_id)
    for state in marks.kept:
        if state.epoch <= before:
            storage.delete(state.path)
    for epoch in sorted(marks.begun):
        if epoch <= before:
            storage.delete(begin_path(clip_id, epoch=epoch))
    for epoch in sorted(marks.deleted):
        if epoch < before:
            storage.delete(tombstone_path(clip_id, epoch=epoch))


def _delete_letters(storage: Storage, clip_id: str) -> None:
    clear_failure(storage, clip_id)
    clear_attempts(storage, clip_id)
