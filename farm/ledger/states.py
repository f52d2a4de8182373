"""Who is at a clip, and how far it has come: OUT/state/ab/<clip_id>-<epoch>.begin and -<epoch>-<step>.safetensors.

Whoever begins a clip puts a create-only mark with the next number. A higher mark than one's own (or one's own gone,
for a committed clip's files are removed) means that another has taken over: this worker keeps nothing more and stops.

What a clip costs in requests to the storage: 1 listing and 1 mark to begin; 1 listing and 1 put for each state, and 1
deletion for the state before it; 1 listing before the commit; 1 deletion for each file afterwards. A short clip, which
keeps one state (before decoding), thus costs 3 listings, 2 puts and 2 deletions; states travel while the model works.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

from farm.errors import AlreadyExistsError, NotFoundError, TakenOverError
from farm.layout import BEGIN_SUFFIX, STATE_SUFFIX, begin_path, clip_id_of, state_folder, state_path
from farm.storage.base import Storage


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptState:
    """A state as it lies in the storage: after `step` denoising steps, kept by the worker of that epoch."""

    path: str
    epoch: int
    step: int


class Turn:
    """One worker's time with a clip. Made by `begin_clip`; not for several threads at once.

    Args:
        epoch: number of this turn among the clip's.
        predecessor: epoch of the turn before, 0 where this is the first.
        kept: states that lay there when last looked, the furthest first.
    """

    def __init__(
        self, storage: Storage, clip_id: str, *, epoch: int, predecessor: int, kept: Sequence[KeptState]
    ) -> None:
        self.clip_id = clip_id
        self.epoch = epoch
        self.predecessor = predecessor
        self.kept = tuple(kept)
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
                _, self.kept = _look(self._storage, self.clip_id)
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
        marks, self.kept = _look(self._storage, self.clip_id)
        if max(marks, default=0) != self.epoch:
            if (
                self.epoch not in marks
            ):  # the clip is done: a state that was on its way then came too late to be removed
                self.forget()
            raise TakenOverError(f"another worker has begun clip {self.clip_id} since; this one stops")

    def forget(self) -> None:
        """Remove all states, as the clip is to begin anew. The mark stays: later turns must have higher numbers."""
        for state in self.kept:
            self._storage.delete(state.path)
        self.kept = ()

    def end(self) -> None:
        """Leave nothing of the clip, which is committed."""
        self.forget()
        for epoch in range(1, self.epoch + 1):  # the highest last: a kill in between must not put another in its place
            self._storage.delete(begin_path(self.clip_id, epoch=epoch))


def begin_clip(storage: Storage, clip_id: str, *, worker: str) -> Turn:
    """Take a clip up, away from whoever has begun it before. `worker` is for people who look into the mark."""
    mark = json.dumps({"worker": worker, "nonce": uuid.uuid4().hex}).encode()
    while True:
        marks, kept = _look(storage, clip_id)
        predecessor = max(marks, default=0)
        epoch = predecessor + 1
        try:
            storage.create(begin_path(clip_id, epoch=epoch), mark)
        except AlreadyExistsError:  # another began it in the same moment; after it, then
            continue
        return Turn(storage, clip_id, epoch=epoch, predecessor=predecessor, kept=kept)


def kept_states(storage: Storage, clip_id: str) -> tuple[KeptState, ...]:
    """What lies there of a clip, the furthest first, for whoever does not mean to take it up."""
    return _look(storage, clip_id)[1]


def _look(storage: Storage, clip_id: str) -> tuple[set[int], tuple[KeptState, ...]]:
    """The epochs of a clip's marks, and its states, the furthest first."""
    marks, kept = set(), []
    for path in storage.names(state_folder(clip_id)):
        if clip_id_of(path) != clip_id:
            continue
        if path.endswith(BEGIN_SUFFIX):
            marks.add(int(path.removesuffix(BEGIN_SUFFIX).rsplit("-", 1)[1]))
        elif path.endswith(STATE_SUFFIX):
            epoch, step = path.removesuffix(STATE_SUFFIX).rsplit("-", 2)[1:]
            kept.append(KeptState(path=path, epoch=int(epoch), step=int(step)))
    return marks, tuple(sorted(kept, key=lambda state: (state.step, state.epoch), reverse=True))
