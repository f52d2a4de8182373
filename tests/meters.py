"""A meter that remembers what it was told."""

from __future__ import annotations

from farm.metrics import Series


class Remembered:
    """`values` and `counts` by name of the series and its labels' values, in their order."""

    def __init__(self) -> None:
        self.values: dict[tuple[str, ...], float] = {}
        self.counts: dict[tuple[str, ...], int] = {}

    def record(self, series: Series, value: float = 1.0, **labels: str) -> None:
        assert set(labels) == set(series.labels), series.name
        key = (series.name, *(labels[name] for name in series.labels))
        self.values[key] = value if series.kind == "gauge" else self.values.get(key, 0.0) + value
        self.counts[key] = self.counts.get(key, 0) + 1

    def begin(self, series: Series, **labels: str) -> None:
        assert series.kind == "counter"
        self.record(series, 0.0, **labels)

    def of(self, series: Series) -> dict[tuple[str, ...], float]:
        """What was told of one series."""
        return {key[1:]: value for key, value in self.values.items() if key[0] == series.name}
