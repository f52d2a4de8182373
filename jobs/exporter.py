"""A run's gauges for Prometheus, from the process that drives it: Ray's agents export its workers' series."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePosixPath

from farm.exporting import PrometheusMeter, exported
from farm.metrics import RUN_CLIPS, RUN_DONE, RUN_ETA_SECONDS, RUN_FAILED, RUN_LAST_END, RUN_SERIES
from farm.run_facts import read_card
from farm.storage import Storage
from jobs.progress import Display, Tally


class RunGauges:
    """Sets what a tally says. Without a meter it sets nothing."""

    def __init__(self, meter: PrometheusMeter | None, *, run_id: str, manifest: str) -> None:
        self._meter = meter
        self._labels = {"run": run_id, "manifest": manifest}

    def set(self, tally: Tally) -> None:
        if self._meter is None:
            return
        values = {RUN_CLIPS: tally.total, RUN_DONE: tally.done, RUN_FAILED: tally.failed}
        for series, number in values.items():
            self._meter.record(series, number, **self._labels)
        self._meter.record(RUN_LAST_END, time.time() - tally.idle_s, **self._labels)
        if tally.eta_s is not None:
            self._meter.record(RUN_ETA_SECONDS, tally.eta_s, **self._labels)


class Measured:
    """A `Display` whose tallies go to gauges too."""

    def __init__(self, display: Display, gauges: RunGauges) -> None:
        self._display = display
        self._gauges = gauges

    def tick(self, tally: Tally) -> None:
        self._gauges.set(tally)
        self._display.tick(tally)

    def note(self, text: str) -> None:
        self._display.note(text)


@contextmanager
def run_gauges(out: Storage, run_id: str, *, port: int | None) -> Iterator[RunGauges]:
    """Gauges of a run that has a card, at that port for as long as the block lasts. UsageError where it is taken."""
    if port is None:
        yield RunGauges(None, run_id=run_id, manifest="")
        return
    card, meter = read_card(out, run_id), PrometheusMeter(RUN_SERIES)
    manifest = "" if card is None else PurePosixPath(card.manifest_uri).name
    with exported(meter, port=port):
        yield RunGauges(meter, run_id=run_id, manifest=manifest)
