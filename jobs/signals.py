"""SIGINT and SIGTERM as a wish to stop: at once while a run is planned or ended, with grace while clips are made.

Grace is for the step in work: at its end the clip's state is kept and the clip put down.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from farm.errors import Interrupted

SIGNALS = (signal.SIGINT, signal.SIGTERM)
# `ray job stop` signals every process of a job, so the driver hears it twice: once itself and once by way of its guard.
ECHO_S = 0.5
AGAIN = "run the same command again to go on"


class Drain:
    """Whether to stop, and since when. While it is patient, a second signal means: at once.

    Clips in work get `grace_s` seconds to reach their next step, where they are put down.
    """

    def __init__(self, *, grace_s: float) -> None:
        self.grace_s = grace_s
        self._asked_s: float | None = None
        self._heard = (0, float("-inf"))
        self._is_patient = False
        self.name = ""

    def listen(self) -> None:
        """Take the signals, also back from a library that has taken them. In the main thread only."""
        for number in SIGNALS:
            signal.signal(number, self._handle)

    @contextmanager
    def patiently(self) -> Iterator[None]:
        """In here a signal is only noted; outside it raises Interrupted wherever the main thread is."""
        self._is_patient = True
        try:
            yield
        finally:
            self._is_patient = False

    @property
    def is_asked(self) -> bool:
        return self._asked_s is not None

    @property
    def is_over(self) -> bool:
        """Whether workers have had their time."""
        return self._asked_s is not None and time.monotonic() - self._asked_s > self.grace_s

    def _handle(self, number: int, _: FrameType | None) -> None:
        (last, last_s), self._heard = self._heard, (number, time.monotonic())
        if number == last and self._heard[1] - last_s < ECHO_S:
            return
        self.name = signal.Signals(number).name
        self._asked_s = time.monotonic() if self._asked_s is None else float("-inf")
        if not self._is_patient:
            raise Interrupted(f"stopped by {self.name}; {AGAIN}")


@contextmanager
def drained_by_signals(*, grace_s: float) -> Iterator[Drain]:
    """A `Drain` that listens for as long as the block lasts. In the main thread only."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    drain = Drain(grace_s=grace_s)
    drain.listen()
    try:
        yield drain
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
