"""The farm's series from processes that no Ray agent exports for: the driver of a run, with a port of its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server

from farm.errors import UsageError
from farm.metrics import Series

if TYPE_CHECKING:
    from prometheus_client.metrics import MetricWrapperBase


class PrometheusMeter:
    """A `Meter` of just these series."""

    def __init__(self, series: Mapping[str, Series]) -> None:
        self.registry = CollectorRegistry()
        self._metrics = {name: _open(one, self.registry) for name, one in series.items()}

    def record(self, series: Series, value: float = 1.0, **labels: str) -> None:
        metric = self._labelled(series, labels)
        if isinstance(metric, Gauge):
            metric.set(value)
        elif isinstance(metric, Histogram):
            metric.observe(value)
        elif isinstance(metric, Counter):
            metric.inc(value)

    def begin(self, series: Series, **labels: str) -> None:
        self._labelled(series, labels)

    def _labelled(self, series: Series, labels: Mapping[str, str]) -> MetricWrapperBase:
        metric = self._metrics[series.name]
        return metric.labels(**labels) if series.labels else metric


@contextmanager
def exported(meter: PrometheusMeter, *, port: int) -> Iterator[None]:
    """Answer Prometheus at that port of every address for as long as the block lasts. UsageError where it is taken."""
    try:
        server, thread = start_http_server(port, registry=meter.registry)
    except OSError as error:
        raise UsageError(f"metrics cannot be had at port {port}: {error.strerror}") from error
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _open(series: Series, registry: CollectorRegistry) -> MetricWrapperBase:
    if series.kind == "histogram":
        return Histogram(series.name, series.about, series.labels, registry=registry, buckets=series.buckets)
    kind = Gauge if series.kind == "gauge" else Counter
    return kind(series.name, series.about, series.labels, registry=registry)
