"""Who leads: of all dispatchers on one OUT (an upgrade has two clusters on it) the one that holds the lease.

The others wait. A dispatcher is made when the lease is taken and dropped when it is lost; all that it knew lies in the
storage.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass

from farm.errors import StorageError, TransientError
from farm.ledger.lease import Lease
from farm.logs import fields
from farm.queue.dispatch import Dispatcher
from farm.storage import Storage

FOLDER = "dispatch/lease"

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Chore:
    """What the leader does every now and then, on a thread of its own; never twice at once.

    A fault of it is logged, and it is tried again at its next turn.
    """

    name: str
    every_s: float
    do: Callable[[Dispatcher], None]


class Leadership:
    """Takes the lease whenever it is free, and leads until it is lost or `stop` is called. On a thread of its own.

    Args:
        make: a dispatcher that knows nothing yet.
        lease_s: after how long without a sign of life another may take over.
        look_every_s: how often the leader looks into the storage.
    """

    def __init__(
        self,
        storage: Storage,
        make: Callable[[], Dispatcher],
        *,
        lease_s: float,
        look_every_s: float,
        chores: Sequence[Chore] = (),
    ) -> None:
        self._storage = storage
        self._make = make
        self._lease_s = lease_s
        self._look_every_s = look_every_s
        self._chores = chores
        self._due_s = dict.fromkeys((chore.name for chore in chores), 0.0)
        self._at_work: dict[str, Future[None]] = {}
        self._hands = ThreadPoolExecutor(max(1, len(chores)), "chore")
        self._stop = threading.Event()
        self._leader: Dispatcher | None = None
        self._seen_s = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="leadership", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, *, timeout_s: float) -> None:
        """Let go of the lease, so that the next leader need not wait."""
        self._stop.set()
        self._hands.shutdown(wait=False, cancel_futures=True)
        self._thread.join(timeout_s)

    @property
    def leader(self) -> Dispatcher | None:
        """The dispatcher of this process while it leads; None while another does."""
        return self._leader

    @property
    def silent_s(self) -> float:
        """How long its thread has not come round: it is stuck, or dead, when that is long."""
        return time.monotonic() - self._seen_s if self._thread.is_alive() or self._stop.is_set() else float("inf")

    def _run(self) -> None:
        while not self._stop.is_set():
            lease = Lease(self._storage, FOLDER, name="the dispatch of online jobs", lease_s=self._lease_s)
            try:
                if lease.try_acquire() is None:
                    self._lead(lease)
            except (StorageError, TransientError) as error:
                _LOG.warning("dispatcher cannot lead", extra=fields(error=str(error)))
            except Exception:  # the thread's boundary: whoever leads next, here or elsewhere, begins anew
                _LOG.exception("dispatcher's lead came to an end")
            finally:
                self._leader = None
                lease.release()
            self._pause(self._lease_s / 3)

    def _lead(self, lease: Lease) -> None:
        """Until the lease is lost, or somebody says stop."""
        dispatcher = self._make()
        _LOG.info("dispatcher leads", extra=fields(open_jobs=dispatcher.rebuild()))
        self._leader = dispatcher
        while not self._stop.is_set() and not lease.is_lost:
            self._pause(self._look_every_s)
            try:
                dispatcher.look()
            except (StorageError, TransientError) as error:  # what it knows is enough for a while
                _LOG.warning("dispatcher cannot look for jobs", extra=fields(error=str(error)))
            self._do_chores(dispatcher)
        if lease.is_lost:
            _LOG.warning("another dispatcher leads")

    def _do_chores(self, dispatcher: Dispatcher) -> None:
        now_s = time.monotonic()
        for chore in self._chores:
            before = self._at_work.get(chore.name)
            if now_s >= self._due_s[chore.name] and (before is None or before.done()):
                self._due_s[chore.name] = now_s + chore.every_s
                with suppress(RuntimeError):  # told to stop meanwhile
                    self._at_work[chore.name] = self._hands.submit(_done, chore, dispatcher)

    def _pause(self, seconds: float) -> None:
        self._seen_s = time.monotonic()
        self._stop.wait(seconds)


def _done(chore: Chore, dispatcher: Dispatcher) -> None:
    try:
        chore.do(dispatcher)
    except Exception:  # a chore is no reason to stop leading
        _LOG.exception("chore failed", extra=fields(chore=chore.name))
