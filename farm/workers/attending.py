"""While a job is rendered: the dispatcher hears how it comes on, and its cancellation is heard in return.

All talk is on a thread of its own, so that a slow answer costs no step.
"""

from __future__ import annotations

import logging
import threading
import time
from types import TracebackType
from typing import Self

from farm.errors import FarmError, QueueAwayError
from farm.logs import fields
from farm.queue.claim import JobLease
from farm.queue.client import QueueClient
from farm.queue.store import JobStore
from farm.workers.making import ClipJob

_LOG = logging.getLogger(__name__)

# A cancellation is to be heard during the step in work: steps of large models take half a minute.
BEAT_S = 1.0
# Steps of small models come faster than talk is worth.
GAP_S = 0.2
# With the dispatcher away the storage is asked, which costs a request.
ASK_STORAGE_S = 5.0
# One that answers need not have heard of a cancellation: it is told once, by a replica that may not have reached it or
# that has another dispatcher (an upgrade runs two clusters on one OUT).
DOUBT_S = 15.0


class Attendance:
    """A `farm.workers.listening.Listener` of one job, for as long as the block lasts.

    Args:
        beat_s: the dispatcher hears of the job so often, and after each step unless it has just heard.
    """

    def __init__(
        self, lease: JobLease, *, queue: QueueClient, store: JobStore, renderer: str, beat_s: float = BEAT_S
    ) -> None:
        self.is_cancelled = False
        self.done: int | None = None
        self.total: int | None = None
        self._lease = lease
        self._queue = queue
        self._store = store
        self._renderer = renderer
        self._beat_s = beat_s
        self._preview: bytes | None = None
        self._asked_storage_s = time.monotonic()
        self._news = threading.Event()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._talk, name=f"attend-{lease.job.id}", daemon=True)

    @property
    def should_stop(self) -> bool:
        """Whether rendering on is of no use."""
        return self.is_cancelled or self._lease.is_lost

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._news.set()
        self._thread.join()

    def began(self, job: ClipJob, step: int) -> None:
        self.done, self.total = step, job.spec.num_inference_steps
        self._news.set()

    def stepped(self, job: ClipJob, done: int, total: int) -> None:
        self.done, self.total = done, total
        self._news.set()

    def previewed(self, job: ClipJob, step: int, image: bytes) -> None:
        self._preview = image
        self._news.set()

    def _talk(self) -> None:
        while not self._over.is_set():
            self._news.clear()
            self._tell()
            self._over.wait(min(GAP_S, self._beat_s))
            self._news.wait(self._beat_s)

    def _tell(self) -> None:
        preview, self._preview = self._preview, None
        job_id = self._lease.job.id
        try:
            answer = self._queue.stepped(self._renderer, job_id, done=self.done, total=self.total, preview=preview)
        except QueueAwayError:
            self._ask_storage(job_id, every_s=ASK_STORAGE_S)
        except Exception:  # the boundary: a clip is worth more than talk about it
            _LOG.exception("dispatcher cannot be told of a job", extra=fields(job_id=job_id))
        else:
            self.is_cancelled |= answer == "stop"
            self._ask_storage(job_id, every_s=DOUBT_S)

    def _ask_storage(self, job_id: str, *, every_s: float) -> None:
        now_s = time.monotonic()
        if self.is_cancelled or now_s - self._asked_storage_s < every_s:
            return
        self._asked_storage_s = now_s
        try:
            self.is_cancelled |= self._store.is_cancel_wished(job_id)
        except FarmError as error:
            _LOG.warning("cancellation cannot be asked for", extra=fields(job_id=job_id, error=str(error)))
