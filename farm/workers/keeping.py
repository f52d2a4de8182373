"""States of a clip on their way to the ledger, while its next steps are computed."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future
from contextlib import suppress

from farm import metrics
from farm.errors import StorageError
from farm.ledger import Turn
from farm.metrics import Meter
from farm.workers.engine import SamplerState
from farm.workers.listening import Teller
from farm.workers.workbench import Note


class StateKeeper:
    """Keeps one clip's states through its turn, on another thread. What goes wrong there is raised by the next call.

    Args:
        thread: of one thread, as a turn is not for several.
        kept_step: where the clip goes on from.
    """

    def __init__(self, turn: Turn, thread: Executor, *, kept_step: int = 0) -> None:
        self.kept_step = kept_step
        self._turn = turn
        self._thread = thread
        self._writes = deque[Future[None]]()
        self._newest: SamplerState | None = None
        self._lock = threading.Lock()

    def keep(self, state: SamplerState) -> None:
        """Have it written; it takes the place of one that still waits."""
        self.check()
        with self._lock:
            self._newest = state
        self._writes.append(self._thread.submit(self._write))

    def check(self) -> None:
        """Raise what went wrong: TakenOverError, StorageError."""
        while self._writes and self._writes[0].done():
            self._writes.popleft().result()

    def flush(self) -> None:
        """Wait until all that was handed over is kept. Raises as `check` does."""
        while self._writes:
            self._writes.popleft().result()

    def _write(self) -> None:
        with self._lock:
            state, self._newest = self._newest, None
        if state is not None:
            self._turn.keep(state.step, state.data)
            self.kept_step = state.step


class ClipWatch:
    """What a renderer does while a clip comes on: count, keep, tell, and ask whether to stop.

    Args:
        teller: of this try at the clip.
        every_steps: so many done steps may be lost at most; with None a state's writing is never waited for.
        should_stop: whether the clip is to be put down.
        shape, degree: labels of its steps' times.
    """

    def __init__(
        self,
        keeper: StateKeeper,
        note: Note,
        teller: Teller,
        *,
        every_steps: int | None,
        should_stop: Callable[[], bool],
        meter: Meter,
        model: str,
        shape: str,
        degree: int,
    ) -> None:
        self._keeper = keeper
        self._note = note
        self._teller = teller
        self._every_steps = every_steps
        self._should_stop = should_stop
        self._meter = meter
        self._model = model
        self._labels = {"model": model, "shape": shape, "degree": str(degree)}
        self._stepped_s: float | None = None

    def stepped(self, done: int, total: int) -> None:
        self._time()
        if self._every_steps is not None and done - self._keeper.kept_step > self._every_steps:
            self._keeper.flush()
        self._keeper.check()
        self._note.stepped(done)
        self._meter.record(metrics.DENOISE_STEPS, model=self._model)
        self._teller.stepped(done, total)

    def _time(self) -> None:
        # Not the first of a try: that one has loading, compiling and sending of states in it.
        now_s = time.monotonic()
        if self._stepped_s is not None:
            self._meter.record(metrics.STEP_TIMES, now_s - self._stepped_s, **self._labels)
        self._stepped_s = now_s

    def keep(self, state: SamplerState) -> None:
        self._keeper.keep(state)

    def preview(self, step: int, image: bytes) -> None:
        self._teller.previewed(step, image)

    def should_yield(self) -> bool:
        with suppress(StorageError):  # not being able to ask ends no clip; what is written next tells
            return self._should_stop()
        return False
