"""Which job begins when, if nothing more comes: the order of the shares played through on the renderers at work."""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from dataclasses import dataclass

from farm.queue.entries import Sharer
from farm.queue.lane import Item, Lane


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """A lane as it stands, copied while nobody changes it.

    Args:
        free_in_s: for each renderer, when it can begin its next job.
        answerable: ids of jobs that only have to be answered.
    """

    model: str
    heaps: Mapping[Sharer, list[Item]]
    tags: Mapping[Sharer, float]
    weights: Mapping[Sharer, float]
    answerable: tuple[str, ...]
    free_in_s: tuple[float, ...]
    num_ranks: int
    pace: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """By job id, how many go before it and in how many seconds it begins. `end_s`: all have begun by then."""

    made_s: float
    starts: Mapping[str, tuple[int, float]]
    end_s: float

    def start(self, job_id: str, now_s: float) -> tuple[int, float]:
        """Of a queued job; one that came since then is put behind all others."""
        position, in_s = self.starts.get(job_id, (len(self.starts), self.end_s))
        return position, max(0.0, in_s - (now_s - self.made_s))


def outlook(lane: Lane, free_in_s: list[float]) -> Outlook:
    """Copy what a forecast needs. With no renderer at work, one is taken to be on its way."""
    return Outlook(
        model=lane.name,
        heaps={sharer: list(heap) for sharer, heap in lane.heaps.items()},
        tags={sharer: lane.shares.tag(sharer) for sharer in lane.heaps},
        weights={sharer: lane.shares.weight(sharer) for sharer in lane.heaps},
        answerable=tuple(entry.job.id for entry in lane.answerable),
        free_in_s=tuple(free_in_s) or (lane.model.load_s,),
        num_ranks=lane.model.num_ranks,
        pace=lane.pace,
    )


def forecast(seen: Outlook, now_s: float) -> Forecast:
    """Play it through: n log n in the number of jobs. Needs no lock."""
    free, starts = list(seen.free_in_s), dict[str, tuple[int, float]]()
    heapq.heapify(free)
    for job_id in seen.answerable:
        starts[job_id] = (len(starts), free[0])
    # Sorted from the end, so that the next of a sharer is popped off.
    lines = {
        sharer: sorted((item for item in heap if item[2].ticket == item[1]), reverse=True)
        for sharer, heap in seen.heaps.items()
    }
    turns = [(seen.tags[sharer], sharer) for sharer, line in lines.items() if line]
    heapq.heapify(turns)
    while turns:
        tag, sharer = turns[0]
        _, _, entry = lines[sharer].pop()
        starts[entry.job.id] = (len(starts), free[0])
        heapq.heapreplace(free, free[0] + entry.seconds * seen.pace)
        if lines[sharer]:
            cost = entry.price(seen.num_ranks) if entry.charged is None else 0.0
            heapq.heapreplace(turns, (tag + cost / seen.weights[sharer], sharer))
        else:
            heapq.heappop(turns)
    return Forecast(made_s=now_s, starts=starts, end_s=free[0])
