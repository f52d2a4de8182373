"""SIGINT and SIGTERM as a wish to stop, which the driver carries out within a grace period."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Drain:
    """Whether to stop, and since when. A second signal means: at once."""

    def __init__(self, *, grace_s: float) -> None:
        self._grace_s = grace_s
        self._asked = threading.Event()
        self._asked_s = 0.0
        self.name = ""

    def ask(self, number: int) -> None:
        """Stop within the grace period; asked again, stop now."""
        self._asked_s = float("-inf") if self._asked.is_set() else time.monotonic()
        self.name = signal.Signals(number).name
        self._asked.set()

    @property
    def is_asked(self) -> bool:
        return self._asked.is_set()

    @property
    def is_over(self) -> bool:
        """Whether clips in work have had their time."""
        return self._asked.is_set() and time.monotonic() - self._asked_s > self._grace_s


@contextmanager
def drained_by_signals(*, grace_s: float) -> Iterator[Drain]:
    """A `Drain` that SIGINT and SIGTERM set for as long as the block lasts. In the main thread only."""
    drain = Drain(grace_s=grace_s)

    def handle(number: int, _: FrameType | None) -> None:
        drain.ask(number)

    before = {number: signal.signal(number, handle) for number in SIGNALS}
    try:
        yield drain
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
