"""The farm's series through Ray's own metrics, which every node's agent exports."""

from __future__ import annotations

from typing import Any

from ray.util.metrics import Counter, Gauge, Histogram

from farm.metrics import SERIES, Series


class RayMeter:
    """One per worker process."""

    def __init__(self) -> None:
        self._metrics: dict[str, Any] = {series.name: _open(series) for series in SERIES.values()}

    def record(self, series: Series, value: float = 1.0, **labels: str) -> None:
        if series.kind == "histogram":
            self._metrics[series.name].observe(value, tags=labels)
        elif series.kind == "gauge":
            self._metrics[series.name].set(value, tags=labels)
        elif value > 0:  # Ray refuses to add nothing
            self._metrics[series.name].inc(value, tags=labels)


def _open(series: Series) -> Any:
    if series.kind == "histogram":
        return Histogram(series.name, description=series.about, boundaries=list(series.buckets), tag_keys=series.labels)
    if series.kind == "gauge":
        return Gauge(series.name, description=series.about, tag_keys=series.labels)
    return Counter(series.name, description=series.about, tag_keys=series.labels)
