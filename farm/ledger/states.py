"""Who is at a clip, and how far it has come: OUT/state/ab/<clip_id>-<epoch>.begin and -<epoch>-<step>.safetensors.

Whoever begins a clip puts a create-only mark with the next number. A higher mark than one's own (or one's own gone,
for a committed clip's files are removed) means that another has taken over: this worker keeps nothing more and stops.
A deletion takes a number of that row too (-<epoch>.deleted, see `farm.ledger.tombstones`): it takes the clip away from
all turns before it, and whoever begins after it has a higher number.

What a clip costs in requests to the storage: 1 listing and 1 mark to begin; 1 listing and 1 put for each state, and 1
deletion for the state before it; 1 listing before the commit and 1 after; 1 deletion for each file afterwards. A short
clip, which keeps one state (before decoding), thus costs 4 listings, 2 puts and 2 deletions; states travel while the
model works.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

from farm.errors import AlreadyExistsError, NotFoundError, TakenOverError
from farm.layout import (
    BEGIN_SUFFIX,
    STATE_SUFFIX,
    TOMBSTONE_SUFFIX,
    begin_path,
    clip_id_of,
    state_folder,
    state_path,
    tombstone_path,
)
from farm.storage.base import Storage


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptState:
    """A state as it lies in the storage: after `step` denoising steps, kept by the worker of that epoch."""

    path: str
    epoch: int
    step: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Marks:
    """What lies there of a clip: numbers of turns and of deletions, and states, the furthest first."""

    begun: frozenset[int]
    deleted: frozenset[int]
    kept: tuple[KeptState, ...]

    @property
    def newest(self) -> int:
        """The highest number that was taken, 0 where none was."""
        return max(self.begun | self.deleted, default=0)

    @property
    def newest_deletion(self) -> int:
        return max(self.deleted, default=0)

    @property
    def is_deleted(self) -> bool:
        """Whether nobody has begun the clip since it was deleted, or since its deletion began."""
        return self.newest_deletion > 0 and self.newest_deletion >= max(self.begun, default=0)


class Turn:
    """One worker's time with a clip. Made by `begin_clip`; not for several threads at once.

    Args:
        epoch: number of this turn among the clip's.
        predecessor: epoch of the turn before, 0 where this is the first.
        kept: states that lay there when last looked, the furthest first.
        marks: what lay there when it began, without its own mark.
    """

    def __init__(
        self,
        storage: Storage,
        clip_id: str,
        *,
        epoch: int,
        predecessor: int,
        kept: Sequence[KeptState],
        marks: Marks | None = None,
    ) -> None:
        self.clip_id = clip_id
        self.epoch = epoch
        self.predecessor = predecessor
        self.kept = tuple(kept)
        self._begun = {epoch, *(marks.begun if marks is not None else ())}
        self._deleted = set(marks.deleted if marks is not None else ())
        self._storage = storage

    @property
    def has_predecessor_kept(self) -> bool:
        """Whether the turn before this one came further than where it began."""
        return any(state.epoch == self.predecessor for state in self.kept)

    def states(self) -> Iterator[tuple[KeptState, bytes]]:
        """What lies there to go on from, with its content, the furthest first."""
        tried: set[str] = set()
        while (state := next((one for one in self.kept if one.path not in tried), None)) is not None:
            tried.add(state.path)
            try:
                data = self._storage.read(state.path)
            except NotFoundError:  # its writer, from whom we took over, put a newer one in its place just now
                self.kept = look_at(self._storage, self.clip_id).kept
            else:
                yield state, data

    def discard(self, state: KeptState) -> None:
        """Remove a state that nobody should go on from."""
        self._storage.delete(state.path)
        self.kept = tuple(one for one in self.kept if one != state)

    def keep(self, step: int, data: bytes) -> None:
        """Keep a state in place of all others. TakenOverError where this is no longer our clip."""
        self.check()
        state = KeptState(path=state_path(self.clip_id, epoch=self.epoch, step=step), epoch=self.epoch, step=step)
        with suppress(AlreadyExistsError):  # our own, from before a fault: as good
            self._storage.create(state.path, data)
        for older in self.kept:
            if older != state:
                self._storage.delete(older.path)
        self.kept = (state,)

    def check(self) -> None:
        """Look again at what lies there. TakenOverError where this is no longer our clip."""
        marks = self._look()
        self.kept = marks.kept
        is_deleted, is_done = marks.newest_deletion >= self.epoch, self.epoch not in marks.begun
        if marks.newest == self.epoch and not is_deleted and not is_done:
            return
        if is_deleted or is_done:  # a state that was on its way when the others were removed came too late for that
            self.kept = tuple(state for state in marks.kept if state.epoch <= self.epoch)
            self.forget()
        raise TakenOverError(f"another worker has begun clip {self.clip_id} since; this one stops")

    def is_deleted(self) -> bool:
        """Whether the clip was deleted since this turn began; one listing."""
        return self._look().newest_deletion >= self.epoch

    def _look(self) -> Marks:
        marks = look_at(self._storage, self.clip_id)
        self._begun |= marks.begun
        self._deleted |= marks.deleted
        return marks

    def forget(self) -> None:
        """Remove all states, as the clip is to begin anew. The mark stays: later turns must have higher numbers."""
        for state in self.kept:
            self._storage.delete(state.path)
        self.kept = ()

    def end(self) -> None:
        """Leave nothing of the clip, which is committed."""
        self.forget()
        # Upwards: a kill in between must put no other mark in the place of the highest.
        for epoch in sorted(self._deleted):
            if epoch < self.epoch:
                self._storage.delete(tombstone_path(self.clip_id, epoch=epoch))
        for epoch in sorted(self._begun):
            if epoch <= self.epoch:
                self._storage.delete(begin_path(self.clip_id, epoch=epoch))


def begin_clip(storage: Storage, clip_id: str, *, worker: str) -> Turn:
    """Take a clip up, away from whoever has begun it before. `worker` is for people who look into the mark."""
    mark = json.dumps({"worker": worker, "nonce": uuid.uuid4().hex}).encode()
    while True:
        marks = look_at(storage, clip_id)
        predecessor = marks.newest
        epoch = predecessor + 1
        try:
            storage.create(begin_path(clip_id, epoch=epoch), mark)
        except AlreadyExistsError:  # another began it in the same moment; after it, then
            continue
        kept = tuple(state for state in marks.kept if state.epoch > marks.newest_deletion)
        return Turn(storage, clip_id, epoch=epoch, predecessor=predecessor, kept=kept, marks=marks)


def kept_states(storage: Storage, clip_id: str) -> tuple[KeptState, ...]:
    """What lies there of a clip, the furthest first, for whoever does not mean to take it up."""
    return look_at(storage, clip_id).kept


def look_at(storage: Storage, clip_id: str) -> Marks:
    """What lies there of a clip, by one listing."""
    begun, deleted, kept = set(), set(), []
    for path in storage.names(state_folder(clip_id)):
        if clip_id_of(path) != clip_id:
            continue
        if path.endswith(STATE_SUFFIX):
            epoch, step = path.removesuffix(STATE_SUFFIX).rsplit("-", 2)[1:]
            kept.append(KeptState(path=path, epoch=int(epoch), step=int(step)))
        elif path.endswith(BEGIN_SUFFIX):
            begun.add(_number_of(path))
        elif path.endswith(TOMBSTONE_SUFFIX):
            deleted.add(_number_of(path))
    furthest = sorted(kept, key=lambda state: (state.step, state.epoch), reverse=True)
    return Marks(begun=frozenset(begun), deleted=frozenset(deleted), kept=tuple(furthest))


def _number_of(path: str) -> int:
    return int(path.rsplit(".", 1)[0].rsplit("-", 1)[1])
