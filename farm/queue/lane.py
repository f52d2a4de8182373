"""The queue of one model: what is next, how much there is, and how fast it goes."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from farm.queue.entries import Entry, Sharer
from farm.queue.job import Job
from farm.queue.shares import Shares

# What a job is taken for whose time nobody can estimate.
UNKNOWN_S = 60.0

# How much of a new measurement goes into what is remembered.
_GAIN = 0.3
_MOST_PACE = 20.0

Item = tuple[tuple[bool, int, float, str], int, Entry]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelLane:
    """What the dispatcher has to know of a model.

    Args:
        estimate: seconds of one gang for a job, None where nobody knows. Called once a job; must not read the storage.
        num_ranks: devices of a gang.
        load_s: from a renderer's start until it can begin its first clip.
    """

    estimate: Callable[[Job], float | None] = lambda job: job.device_seconds
    num_ranks: int = 1
    load_s: float = 0.0


class Lane:
    """Open jobs of one model that have not begun; `running` are those that have.

    Not safe for several threads at once.

    Args:
        new_ticket: a number never given before.
    """

    def __init__(self, name: str, model: ModelLane, *, weights: Mapping[str, float], new_ticket: Callable[[], int]):
        self.name = name
        self.model = model
        self.shares = Shares(weights)
        self.heaps: dict[Sharer, list[Item]] = {}
        self.sizes: dict[Sharer, int] = {}
        self.answerable = deque[Entry]()
        self.running: dict[str, Entry] = {}
        self.num_queued = 0
        self.queued_s = 0.0
        self.pace = 1.0
        self.tail_s = 0.0
        self.made = deque[float]()
        self._new_ticket = new_ticket
        self._has_pace = False

    def seconds(self, job: Job) -> float:
        """What a job is expected to take of one gang, before this lane's own pace is counted in."""
        seconds = self.model.estimate(job)
        return UNKNOWN_S if seconds is None else seconds

    def count(self, entry: Entry, sign: int = 1) -> None:
        """It waits for its beginning now, in whatever way; or, with -1, no longer."""
        self.num_queued += sign
        self.queued_s = self.queued_s + sign * entry.seconds if self.num_queued else 0.0

    def put(self, entry: Entry) -> None:
        """Into its sharer's heap."""
        sharer = entry.sharer
        heap = self.heaps.setdefault(sharer, [])
        if not self.sizes.get(sharer):
            self.shares.entered(sharer)
        entry.place, entry.ticket = "queued", self._new_ticket()
        heapq.heappush(heap, (entry.rank, entry.ticket, entry))
        self.sizes[sharer] = self.sizes.get(sharer, 0) + 1

    def pull(self, entry: Entry) -> None:
        """Out of its heap."""
        sharer = entry.sharer
        entry.ticket = None
        self.sizes[sharer] -= 1
        if not self.sizes[sharer]:
            del self.sizes[sharer], self.heaps[sharer]
        elif len(self.heaps[sharer]) > 2 * self.sizes[sharer] + 16:  # mostly items that no longer count
            self.heaps[sharer] = [item for item in self.heaps[sharer] if item[2].ticket == item[1]]
            heapq.heapify(self.heaps[sharer])

    def head(self) -> Entry | None:
        """The job whose turn it is, left where it is; None where there is none."""
        if not self.sizes:
            return None
        heap = self.heaps[self.shares.first(self.sizes)]
        while heap[0][2].ticket != heap[0][1]:
            heapq.heappop(heap)
        return heap[0][2]

    def charge(self, entry: Entry) -> None:
        """It is handed out; its sharer pays once, however often it comes back."""
        if entry.charged is None:
            entry.charged = entry.price(self.model.num_ranks)
            self.shares.charge(entry.sharer, entry.charged)

    def measured(self, entry: Entry, *, elapsed_s: float, tail_s: float | None, now_s: float) -> None:
        """A clip was made from its beginning."""
        ratio = min(_MOST_PACE, max(1 / _MOST_PACE, elapsed_s / max(entry.seconds, 1e-3)))
        self.pace = self.pace + _GAIN * (ratio - self.pace) if self._has_pace else ratio
        if tail_s is not None:
            self.tail_s = self.tail_s + _GAIN * (tail_s - self.tail_s) if self._has_pace else tail_s
        self._has_pace = True
        self.made.append(now_s)

    def clips_per_minute(self, now_s: float, *, window_s: float, since_s: float) -> float:
        """Over the last `window_s`, or since the dispatcher began, but a minute at least."""
        while self.made and self.made[0] < now_s - window_s:
            self.made.popleft()
        return 60.0 * len(self.made) / max(60.0, min(window_s, now_s - since_s))

    def running_s(self, now_s: float) -> float:
        """Seconds of one gang that what runs still takes."""
        return sum(self.remaining_s(entry, now_s) for entry in self.running.values())

    def remaining_s(self, entry: Entry, now_s: float) -> float:
        """Of one that runs."""
        if entry.run is None:
            return self.expected_s(entry)
        return entry.run.remaining_s(now_s, whole_s=self.expected_s(entry), tail_s=self.tail_s)

    def expected_s(self, entry: Entry) -> float:
        """Seconds that the job takes from its beginning, by estimate and by this lane's pace."""
        return entry.seconds * self.pace
