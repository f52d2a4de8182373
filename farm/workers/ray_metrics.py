"""The farm's series through Ray's own metrics, which every node's agent exports.

Ray forgets a gauge that is not set again within some ten seconds, so whoever sets one says it again and again.
"""

from __future__ import annotations

import math
from typing import Any

from ray.util.metrics import Counter, Gauge, Histogram

from farm.metrics import SERIES, Series

# Ray takes no zero, and Prometheus sees no increase in a counter that is born with its first event. Adding the
# smallest number there is to any count leaves that count as it is.
_NEXT_TO_NOTHING = math.ulp(0.0)


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

    def begin(self, series: Series, **labels: str) -> None:
        self._metrics[series.name].inc(_NEXT_TO_NOTHING, tags=labels)


def _open(series: Series) -> Any:
    if series.kind == "histogram":
        return Histogram(series.name, description=series.about, boundaries=list(series.buckets), tag_keys=series.labels)
    if series.kind == "gauge":
        return Gauge(series.name, description=series.about, tag_keys=series.labels)
    return Counter(series.name, description=series.about, tag_keys=series.labels)
