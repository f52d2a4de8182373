"""One holder at a time: a lease of 15 seconds, renewed by a thread, expiring by the storage's clock.

<folder>/<epoch>.json is put create-only by whoever takes what the folder stands for: the next number wins it.
<epoch>.beat is rewritten by its holder every few seconds, <epoch>.end says that the holder has let go.

What it costs in requests to the storage: to take it 1 listing, 1 look at the clock and 1 put; where somebody held it
before, 1 listing, 1 read and 1 look at the clock more, and 1 deletion for each file of that holder; every 5 seconds
1 listing and 1 put; 1 put and 1 look to let go.
"""

from __future__ import annotations

import logging
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

from farm.errors import AlreadyExistsError, LeaseLostError, NotFoundError, RunHeldError, StorageError
from farm.ledger.holder import Holder, is_known_dead, this_process
from farm.logs import fields
from farm.storage.base import Entry, Storage

LEASE_S = 15.0

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Epoch:
    """The newest claim as it lies in the storage."""

    number: int
    is_ended: bool
    beat_s: float


class Lease:
    """The right to do what only one may do. Use as a context manager; call `check` wherever the holder can stop.

    Two may overlap for a moment when one was away for longer than the lease; whatever is written under it must carry
    the epoch or be create-only, and the older one finds out at its next beat.

    Args:
        folder: that this lease alone uses, below the storage's root.
        name: what is held, for people ("run 01ab").
    """

    def __init__(self, storage: Storage, folder: str, *, name: str, lease_s: float = LEASE_S) -> None:
        self.name = name
        self.epoch = 0
        self._storage = storage
        self._lease_s = lease_s
        self._folder = folder
        self._renewed_s = 0.0
        self._is_taken_over = False
        self._fault: StorageError | None = None
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def acquire(self) -> None:
        """Take it, also from a holder that is gone. RunHeldError says who holds it."""
        holder = self.try_acquire()
        if holder is None:
            return
        since = datetime.fromtimestamp(holder.since_s, UTC).isoformat(timespec="seconds")
        raise RunHeldError(
            f"{self.name} is being driven by process {holder.pid} on {holder.host} since {since}; "
            f"wait for it or stop it (a lease whose holder died ends after {self._lease_s:.0f} s)"
        )

    def try_acquire(self) -> Holder | None:
        """Take it, also from a holder that is gone: None. Otherwise the one who holds it."""
        while self._thread is None:
            newest = self._newest()
            if newest is not None:
                holder = self._living_holder(newest)
                if holder is not None:
                    return holder
            with suppress(AlreadyExistsError):  # another was quicker; look who
                self._claim(1 if newest is None else newest.number + 1)
        return None

    def check(self) -> None:
        """Raise LeaseLostError when it is no longer ours."""
        if self._is_taken_over:
            raise LeaseLostError(f"another process has taken over {self.name}; this one stops")
        if self.is_lost:
            why = self._fault or "this process was away"
            raise LeaseLostError(f"{self.name} could not be held for {self._lease_s:.0f} s: {why}")

    @property
    def is_lost(self) -> bool:
        """Whether someone took over, or might have: no renewal got through for as long as the lease lasts."""
        return self._is_taken_over or time.monotonic() - self._renewed_s > self._lease_s

    def release(self) -> None:
        """Let go, so that the next need not wait."""
        if self._thread is None:
            return
        self._stop.set()
        self._thread.join()
        self._thread = None
        with suppress(StorageError):  # the lease ends by itself all the same
            self._storage.replace(self._path(self.epoch, "end"), b"")
            if not self._storage.exists(self._path(self.epoch, "json")):  # another has it, or all of it was removed
                self._storage.delete(self._path(self.epoch, "end"))

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def held_by(self) -> Holder | None:
        """The process that holds it now, None where none does. Writes nothing."""
        newest = self._newest()
        return None if newest is None else self._living_holder(newest)

    def _living_holder(self, newest: _Epoch) -> Holder | None:
        if newest.is_ended or self._storage.now() - newest.beat_s > self._lease_s:
            return None
        holder = self._holder_of(newest.number)
        return None if holder is None or is_known_dead(holder) else holder

    def _claim(self, number: int) -> None:
        begun_s = time.monotonic()
        holder = this_process(since_s=self._storage.now())
        self._storage.create(self._path(number, "json"), holder.model_dump_json(indent=1).encode())
        self.epoch, self._renewed_s, self._is_taken_over = number, begun_s, False
        _LOG.info("lease taken", extra=fields(lease=self.name, epoch=number))
        if number > 1:
            self._forget_before(number)
        self._stop.clear()
        self._thread = threading.Thread(target=self._keep_alive, name=f"lease of {self.name}", daemon=True)
        self._thread.start()

    def _keep_alive(self) -> None:
        while not self._stop.wait(self._lease_s / 3):
            try:
                self._renew()
                self._fault = None
            except StorageError as error:  # tried again soon; `is_lost` says when it has been too long
                self._fault = error
                _LOG.warning("lease not renewed", extra=fields(lease=self.name, error=str(error)))
            if self._is_taken_over:
                _LOG.warning("lease lost", extra=fields(lease=self.name, epoch=self.epoch))
                return

    def _renew(self) -> None:
        begun_s = time.monotonic()
        newest = self._newest()
        if newest is None or newest.number != self.epoch:
            self._is_taken_over = True
            return
        self._storage.replace(self._path(self.epoch, "beat"), b"")
        self._renewed_s = begun_s

    def _newest(self) -> _Epoch | None:
        entries = list(self._storage.list(self._folder))
        number = max((_number_of(entry) for entry in entries if entry.path.endswith(".json")), default=0)
        if number == 0:
            return None
        own = [entry for entry in entries if _number_of(entry) == number]
        is_ended = any(entry.path.endswith(".end") for entry in own)
        return _Epoch(number=number, is_ended=is_ended, beat_s=max(entry.mtime_s for entry in own))

    def _holder_of(self, number: int) -> Holder | None:
        with suppress(NotFoundError):
            return Holder.model_validate_json(self._storage.read(self._path(number, "json")))
        return None

    def _forget_before(self, number: int) -> None:
        with suppress(StorageError):
            for entry in list(self._storage.list(self._folder)):
                if _number_of(entry) < number:
                    self._storage.delete(entry.path)

    def _path(self, number: int, kind: str) -> str:
        return f"{self._folder}/{number:08d}.{kind}"


class RunLease(Lease):
    """The right to drive a run: OUT/runs/<run_id>/lease. The ledger's create-only records keep an overlap harmless."""

    def __init__(self, storage: Storage, run_id: str, *, lease_s: float = LEASE_S) -> None:
        super().__init__(storage, f"runs/{run_id}/lease", name=f"run {run_id}", lease_s=lease_s)
        self.run_id = run_id


def _number_of(entry: Entry) -> int:
    return int(entry.path.rsplit("/", 1)[-1].split(".", 1)[0])
