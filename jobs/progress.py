"""What a person sees while clips are made: a bar on a terminal, a line now and then everywhere else."""

from __future__ import annotations

import logging
import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol, TextIO

from farm.logs import fields, is_json

if TYPE_CHECKING:
    from rich.live import Live

_LOG = logging.getLogger(__name__)

LINE_EVERY_S = 15.0
RATE_OVER_S = 600.0


class Tally:
    """Clips done and failed since the run began, and how fast that goes; it begins with what was there before."""

    def __init__(self, *, total: int, done: int, failed: int) -> None:
        self.total = total
        self.done = done
        self.failed = failed
        self._begun_s = time.monotonic()
        self._ends: deque[float] = deque()

    def add(self, *, has_failed: bool) -> None:
        """One clip more."""
        self.failed += has_failed
        self.done += not has_failed
        self._ends.append(time.monotonic())
        while self._ends[0] < self._ends[-1] - RATE_OVER_S:
            self._ends.popleft()

    @property
    def idle_s(self) -> float:
        """Since a clip ended, or this drive began."""
        return time.monotonic() - (self._ends[-1] if self._ends else self._begun_s)

    @property
    def num_left(self) -> int:
        return max(0, self.total - self.done - self.failed)

    @property
    def clips_per_minute(self) -> float | None:
        """Over the last ten minutes; None before the first clip. Start-up counts until there are clips to go by."""
        marks = list(self._ends) if len(self._ends) > 2 else [self._begun_s, *self._ends]
        span_s = marks[-1] - marks[0]
        return 60.0 * (len(marks) - 1) / span_s if span_s > 0 else None

    @property
    def eta_s(self) -> float | None:
        """Seconds until all is done at the present rate."""
        rate = self.clips_per_minute
        return None if rate is None else 60.0 * self.num_left / rate

    def __str__(self) -> str:
        rate, eta_s = self.clips_per_minute, self.eta_s
        speed = "" if rate is None else f", {rate:.1f} clips/min"
        eta = "" if eta_s is None else f", ETA {duration(eta_s)}"
        return f"{self.done}/{self.total} done, {self.failed} failed{speed}{eta}"


class Display(Protocol):
    """Shows a tally; `tick` is called several times a second."""

    def tick(self, tally: Tally) -> None: ...

    def note(self, text: str) -> None:
        """A line that stays."""


class Lines:
    """Plain lines, for whoever keeps what is written."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._pace = Pace()

    def tick(self, tally: Tally) -> None:
        if self._pace.is_due(tally):
            self.note(str(tally))

    def note(self, text: str) -> None:
        self._stream.write(text + "\n")
        self._stream.flush()


class Events:
    """The same as events of the log."""

    def __init__(self) -> None:
        self._pace = Pace()

    def tick(self, tally: Tally) -> None:
        if self._pace.is_due(tally):
            counts = {"clips": tally.total, "done": tally.done, "failed": tally.failed}
            speed = {"clips_per_minute": _rounded(tally.clips_per_minute), "eta_seconds": _rounded(tally.eta_s)}
            _LOG.info("run progress", extra=fields(**counts, **speed))

    def note(self, text: str) -> None:
        _LOG.info("%s", text)


def lines(stream: TextIO | None = None) -> Display:
    """Lines to `stream` (stderr), or events where JSON is written there."""
    return Events() if is_json() else Lines(stream or sys.stderr)


class Pace:
    """When counts are told to whoever keeps them: now and then, if they have changed, and at the end."""

    def __init__(self) -> None:
        self._last_s = time.monotonic()
        self._last = ""

    def is_due(self, tally: Tally) -> bool:
        """Whether to tell them now; a yes is taken for told."""
        is_time = time.monotonic() - self._last_s >= LINE_EVERY_S or tally.num_left == 0
        counts = f"{tally.done} {tally.failed}"
        if not is_time or counts == self._last:
            return False
        self._last_s, self._last = time.monotonic(), counts
        return True


class Bar:
    """A live bar on a terminal."""

    def __init__(self, live: Live) -> None:
        self._live = live

    def tick(self, tally: Tally) -> None:
        from rich.progress_bar import ProgressBar
        from rich.table import Table

        grid = Table.grid(padding=(0, 1))
        bar = ProgressBar(total=max(1, tally.total), completed=tally.done + tally.failed, width=30)
        grid.add_row(bar, str(tally))
        self._live.update(grid)

    def note(self, text: str) -> None:
        self._live.console.print(text, highlight=False, markup=False)


@contextmanager
def progress_display(stream: TextIO | None = None) -> Iterator[Display]:
    """A bar where `stream` (stderr) is a terminal, lines otherwise; events where JSON is written there."""
    stream = stream or sys.stderr
    if is_json() or not stream.isatty():
        yield lines(stream)
        return
    from rich.console import Console
    from rich.live import Live

    with Live(console=Console(file=stream), refresh_per_second=4, transient=True) as live:
        yield Bar(live)


def duration(seconds: float) -> str:
    """Seconds as people say them: 42 s, 3 min, 2 h 05 min."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)
