"""What comes after a fault of one clip: once more, once more with care, or the end.

    InputError, TextError    the end
    NaN, memory that ran out once more tame (see `Order`), NaN without the kept state; then the end
    a lost or hanging rank   counted unless a newer state was kept since the last fault; on from the newest state,
    the leader's death       until MAX_ATTEMPTS are counted
    any other error          likewise: what nobody expected is the clip's fault, until it repeats

Drains, lost nodes, a storage that fails and a gang that does not come up are no fault of a clip and never get here.
Attempts are counted in the ledger, where they outlive this process.
"""

from __future__ import annotations

import traceback
from datetime import UTC, datetime

from farm import ledger
from farm.errors import InputError, MemoryExhaustedError, NotFiniteError, RenderError, TextError
from farm.ledger import Attempt, KeptState, Turn
from farm.storage.base import Storage

# Faults that count before a clip is given up.
MAX_ATTEMPTS = 3

_TAMED = {error.__name__ for error in (RenderError, NotFiniteError, MemoryExhaustedError)}


class Ladder:
    """The faults of one clip, through one turn at it.

    Args:
        worker: for the notes of attempts.
    """

    def __init__(self, storage: Storage, turn: Turn, *, worker: str) -> None:
        self.attempts = ledger.read_attempts(storage, turn.clip_id)
        self.is_tame = any(attempt.error_class in _TAMED for attempt in self.attempts)
        self._storage = storage
        self._turn = turn
        self._worker = worker
        self._last: Attempt | None = None
        self._newest_then = self._newest

    @property
    def is_used_up(self) -> bool:
        """Whether no attempt is left."""
        return len(self.attempts) >= MAX_ATTEMPTS

    @property
    def last(self) -> Attempt:
        """The fault that came last, counted or not. There must have been one."""
        return self._last or self.attempts[-1]

    def leader_died(self, error: Exception) -> None:
        """The turn before this one ended with its process, on this machine."""
        self._last = _attempt_of(error, worker=self._worker)
        if not self._turn.has_predecessor_kept:
            self._count(self._last)

    def is_the_end(self, error: Exception) -> bool:
        """Take a fault in; whether the clip is to be given up now. All states must have been written."""
        self._last = _attempt_of(error, worker=self._worker)
        if isinstance(error, InputError | TextError):
            return True
        if isinstance(error, RenderError):
            return self._tame(error, self._last)
        newest, before = self._newest, self._newest_then
        has_come_further, self._newest_then = newest is not None and newest != before, newest
        if has_come_further:
            return False
        self._count(self._last)
        return self.is_used_up

    def _tame(self, error: RenderError, attempt: Attempt) -> bool:
        self._count(attempt)
        was_tame, self.is_tame = self.is_tame, True
        if isinstance(error, NotFiniteError):
            self._turn.forget()
            self._newest_then = None
        return was_tame

    @property
    def _newest(self) -> KeptState | None:
        return self._turn.kept[0] if self._turn.kept else None

    def _count(self, attempt: Attempt) -> None:
        ledger.note_attempt(self._storage, self._turn.clip_id, attempt)
        self.attempts.append(attempt)


def _attempt_of(error: Exception, *, worker: str) -> Attempt:
    return Attempt(
        error_class=type(error).__name__,
        reason=str(error),
        trace="".join(traceback.format_exception(error)),
        worker=worker,
        at=datetime.now(UTC).isoformat(timespec="milliseconds"),
    )
