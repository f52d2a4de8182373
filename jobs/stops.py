"""A driver's ear for what people tell its run, and how it waits while the run is paused."""

from __future__ import annotations

import shlex
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType

from farm.control import Command, standing_stop
from farm.errors import StorageError
from farm.storage import Storage

POLL_S = 2.0
TICK_S = 0.25


class ControlWatch:
    """The pause or cancel that holds for a run. A context manager.

    It looks every two seconds, on a thread of its own: a storage that is slow to answer must not hold up the driver.
    """

    def __init__(self, out: Storage, run_id: str, *, poll_s: float = POLL_S) -> None:
        self._out = out
        self._run_id = run_id
        self._poll_s = poll_s
        self._stop: Command | None = None
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="control", daemon=True)

    def __enter__(self) -> ControlWatch:
        self._look()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()

    @property
    def stop(self) -> Command | None:
        """What holds the run up now, None where nothing does."""
        return self._stop

    @property
    def is_paused(self) -> bool:
        return self._stop is not None and self._stop.action == "pause"

    @property
    def is_cancelled(self) -> bool:
        return self._stop is not None and self._stop.action == "cancel"

    def wait_while_paused(self, *, note: Callable[[str], None], check: Callable[[], None]) -> None:
        """Return when the run may go on, or is cancelled. `check` is called four times a second and may raise."""
        has_waited = False
        while self.is_paused:
            if not has_waited:
                note(f"{self._stop}; waiting for: wanfarm resume {shlex.quote(self._out.uri)} --run {self._run_id}")
            has_waited = True
            check()
            time.sleep(TICK_S)
        if has_waited and not self.is_cancelled:
            note("resumed")

    def _watch(self) -> None:
        while not self._end.wait(self._poll_s):
            with suppress(StorageError):  # tried again soon; until then what was last heard holds
                self._look()

    def _look(self) -> None:
        self._stop = standing_stop(self._out, self._run_id)
