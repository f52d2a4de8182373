"""A stream of outcomes read by a thread of its own, so that the driver never waits for Ray without an end."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator

from farm.workers.renderer import Outcome


class Feed:
    """Outcomes of a segment from a thread of its own: under a dying Ray its calls may never return."""

    def __init__(self, stream: Iterator[Outcome]) -> None:
        self._queue: queue.Queue[Outcome | None] = queue.Queue()
        self._error: BaseException | None = None
        self.has_ended = False
        threading.Thread(target=self._run, args=(stream,), name="ray-data", daemon=True).start()

    def next(self, *, timeout_s: float) -> Outcome | None:
        """The next outcome, None if there is none yet or, with `has_ended`, ever. Raises what the stages raised."""
        outcome = self._take(timeout_s)
        if self.has_ended and self._error is not None:
            raise self._error
        return outcome

    def drop(self, *, timeout_s: float) -> None:
        """Throw away an outcome, or the error that the stream ends with: its clips are looked up in the ledger."""
        self._take(timeout_s)

    def _take(self, timeout_s: float) -> Outcome | None:
        try:
            outcome = self._queue.get(timeout=timeout_s)
        except queue.Empty:
            return None
        self.has_ended = outcome is None
        return outcome

    def _run(self, stream: Iterator[Outcome]) -> None:
        try:
            for outcome in stream:
                self._queue.put(outcome)
        except BaseException as error:  # the boundary of this thread: raised again by `next`
            self._error = error
        self._queue.put(None)
