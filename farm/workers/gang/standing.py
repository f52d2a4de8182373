"""What a gang does at the moment, for people who watch many of them."""

from __future__ import annotations

import threading
from typing import Literal, get_args

from farm.errors import HangError, RankLostError
from farm.metrics import DEVICES, GANG_REBUILDS, GANGS, Meter, begin_counters

State = Literal["starting", "idle", "rendering"]

# Gauges that are not said again are forgotten, see `farm.workers.ray_metrics`: those of a dead leader go by themselves.
SAY_AGAIN_S = 4.0


class Standing:
    """Sets the gauges of one gang, and keeps them up until it has ended. Counters of its clips begin with it.

    Args:
        degree: its ranks.
    """

    def __init__(self, meter: Meter, *, model: str, degree: int) -> None:
        self._meter = meter
        self._model = model
        self._degree = degree
        self._state: State | None = None
        self._lock = threading.Lock()
        self._has_ended = threading.Event()
        self._thread: threading.Thread | None = None
        begin_counters(meter, model=model)
        for reason in (RankLostError, HangError):
            meter.begin(GANG_REBUILDS, reason=reason.__name__)

    def tell(self, state: State | None) -> None:
        """The gang does this now; None: it is no more, until it is told of again."""
        with self._lock:
            self._state = state
            self._set(state)
            if state is None:
                self._has_ended.set()
                self._thread = None
            elif self._thread is None:
                self._has_ended = threading.Event()
                self._thread = threading.Thread(
                    target=self._say_again, args=(self._has_ended,), name="gang-standing", daemon=True
                )
                self._thread.start()

    def broke(self, reason: str) -> None:
        """A fault of that class ended it."""
        self._meter.record(GANG_REBUILDS, reason=reason)

    def _say_again(self, has_ended: threading.Event) -> None:
        while not has_ended.wait(SAY_AGAIN_S):
            with self._lock:
                if not has_ended.is_set():
                    self._set(self._state)

    def _set(self, state: State | None) -> None:
        for one in get_args(State):
            is_this = float(one == state)
            self._meter.record(GANGS, is_this, state=one, model=self._model)
            self._meter.record(DEVICES, is_this * self._degree, state=one, model=self._model)
