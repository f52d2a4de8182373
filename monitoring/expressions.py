"""Pieces of PromQL. Names of series are the farm's own (`farm.metrics`) or Ray's, as the scrape configuration leaves
them: ray_farm_x is farm_x, and every target has a label `cluster`.

Whoever adds workers up does it with `sum by`: each worker process has series of its own, and a new life new ones.
"""

from __future__ import annotations

from farm.metrics import Series

WINDOW = "$__rate_interval"
HERE = 'cluster=~"$cluster"'
CHOSEN = f'{HERE},model=~"$model"'


def name_of(series: Series) -> str:
    """As it stands in Prometheus: a counter's with its suffix."""
    return f"{series.name}_total" if series.kind == "counter" else series.name


def selected(series: Series, *matchers: str) -> str:
    """The series of the chosen clusters, and of the chosen models where it has that label."""
    chosen = CHOSEN if "model" in series.labels else HERE
    return f"{name_of(series)}{{{','.join((chosen, *matchers))}}}"


def rate(series: Series, *matchers: str, by: str = "", window: str = WINDOW) -> str:
    """A counter's rate a second over all workers."""
    return f"{_sum(by)} (rate({selected(series, *matchers)}[{window}]))"


def within(window: str, series: Series, *matchers: str, by: str = "") -> str:
    """How much a counter went up in the time before, over all workers."""
    return f"{_sum(by)} (increase({selected(series, *matchers)}[{window}]))"


def total(series: Series, *matchers: str, by: str = "") -> str:
    """A gauge over all who set it."""
    return f"{_sum(by)} ({selected(series, *matchers)})"


def quantile(q: float, series: Series, *matchers: str, by: str = "", window: str = WINDOW) -> str:
    """Of a histogram over all workers."""
    labels = f"le, {by}" if by else "le"
    chosen = CHOSEN if "model" in series.labels else HERE
    inside = ",".join((chosen, *matchers))
    return f"histogram_quantile({q}, sum by ({labels}) (rate({series.name}_bucket{{{inside}}}[{window}])))"


def ratio(above: str, below: str, *, matching: str = "") -> str:
    """Absent where there is nothing to divide by: a panel would show infinity.

    Args:
        matching: how the labels of both go together, where they differ.
    """
    return f"{above} / {matching}({below} > 0)"


def _sum(by: str) -> str:
    return f"sum by ({by})" if by else "sum"
