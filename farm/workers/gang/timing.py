"""How long a rank may be silent before its gang is taken to hang."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class GangTiming:
    """Deadlines in seconds.

    Args:
        floor_s: of a step or a piece of decoding, however fast the gang is.
        factor: times this gang's own measure of such a step or piece. A rank may fall to a fifth of its speed (heat, a
            neighbour on its host) without being taken for a hang.
        first_s: of the first step and the first piece of a shape, which have nothing to be measured by, and on devices
            are compiled for.
        place_s: to find room on several hosts.
        load_s: from the start of the processes until all are ready.
        answer_s: for the other ranks to answer after one has failed, and to end when told to.
    """

    floor_s: float = 60.0
    factor: float = 10.0
    first_s: float = 3600.0
    place_s: float = 120.0
    load_s: float = 1800.0
    answer_s: float = 5.0


class Pulse:
    """The beats of one gang. What it measures outlives an order, and is kept by shape and stage."""

    def __init__(self, timing: GangTiming) -> None:
        self._timing = timing
        self._measured_s: dict[Hashable, float] = {}
        self._heard_s: dict[int, float] = {}
        self._stages: dict[int, Hashable] = {}

    def begin(self) -> None:
        """Watch nobody."""
        self._heard_s.clear()

    def watch(self, ranks: Iterable[int], stage: Hashable, *, now_s: float) -> None:
        """From now on these ranks beat, in that stage."""
        for rank in ranks:
            self._heard_s[rank] = now_s
            self._stages[rank] = stage

    def unwatch(self, rank: int) -> None:
        """That rank need not be heard of."""
        self._heard_s.pop(rank, None)

    def beat(self, rank: int, *, at_s: float) -> None:
        """A step or piece of the rank's stage is done."""
        if rank in self._heard_s:
            took_s, stage = at_s - self._heard_s[rank], self._stages[rank]
            # Follows a slow-down at once and a recovery by halves.
            self._measured_s[stage] = max(took_s, (self._measured_s.get(stage, took_s) + took_s) / 2)
            self._heard_s[rank] = at_s

    def resume(self, *, now_s: float) -> None:
        """The leader was away: silence counts from here."""
        for rank, heard_s in self._heard_s.items():
            self._heard_s[rank] = max(heard_s, now_s)

    def limit_s(self, rank: int) -> float:
        """How long that rank may be silent."""
        stage, timing = self._stages[rank], self._timing
        measured_s = self._measured_s.get(stage)
        return max(timing.floor_s, timing.first_s if measured_s is None else timing.factor * measured_s)

    def due_s(self) -> float:
        """When the next rank is overdue unless it beats."""
        return min((heard_s + self.limit_s(rank) for rank, heard_s in self._heard_s.items()), default=float("inf"))

    def overdue(self, *, now_s: float) -> list[int]:
        """The ranks that have been silent for too long."""
        return [rank for rank, heard_s in sorted(self._heard_s.items()) if now_s - heard_s >= self.limit_s(rank)]
