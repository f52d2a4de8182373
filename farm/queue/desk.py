"""Who is at which job, and what becomes of it. All of a dispatcher but its lock, its storage and its answers.

A renderer has a seat from when it is first heard of until it is silent for too long. A seat's job runs with that
renderer's name, and the other way round; a job that runs without one is in work elsewhere, as far as is known.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from farm.queue.backlog import Progress
from farm.queue.book import Book
from farm.queue.entries import Entry, Run
from farm.queue.job import ENDS, Job, Status
from farm.queue.lane import ModelLane
from farm.queue.sightings import Sighting


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How the queue is kept.

    Args:
        silence_s: a renderer that was not heard of for so long is gone.
        weights: of projects, 1 where it names none.
        remember_s: for how long ended jobs can still be asked for.
        forecast_s: for how long a forecast is good enough.
        window_s: what "lately" means for the throughput.
    """

    silence_s: float = 20.0
    weights: Mapping[str, float] = field(default_factory=dict)
    remember_s: float = 600.0
    forecast_s: float = 1.0
    window_s: float = 600.0


@dataclass(slots=True, kw_only=True)
class Seat:
    """A renderer."""

    model: str
    seen_s: float
    job_id: str | None = None


class Desk:
    """Not safe for several threads at once.

    Args:
        changed: ids of jobs that changed are put there.
    """

    def __init__(self, models: Mapping[str, ModelLane], policy: Policy, *, now_s: float) -> None:
        self.book = Book(models, policy.weights)
        self.seats: dict[str, Seat] = {}
        self.ended: dict[str, tuple[Progress, float]] = {}
        self.changed: list[str] = []
        self._policy = policy
        self._expired_s = now_s
        # Versions of two dispatchers, one after the other, are not the same: each begins with the time.
        self._versions = itertools.count(time.time_ns() // 1000)

    def seat(self, renderer: str, model: str, now_s: float) -> Seat:
        """Of a renderer that has just been heard of."""
        seat = self.seats.setdefault(renderer, Seat(model=model, seen_s=now_s))
        seat.model, seat.seen_s = model, now_s
        return seat

    def hear(self, renderer: str, now_s: float) -> None:
        """It lives."""
        if renderer in self.seats:
            self.seats[renderer].seen_s = now_s

    def at(self, seat: Seat) -> Entry | None:
        """The job it is at."""
        return None if seat.job_id is None else self.book.entries[seat.job_id]

    def is_at(self, renderer: str, entry: Entry) -> bool:
        return entry.run is not None and entry.run.renderer == renderer

    def is_tended(self, job_id: str) -> bool:
        """Whether a renderer known here is at it."""
        entry = self.book.entries.get(job_id)
        return entry is not None and entry.run is not None and entry.run.renderer is not None

    def note(self, entry: Entry) -> None:
        """It has changed."""
        entry.version = next(self._versions)
        self.changed.append(entry.job.id)

    def add(self, job: Job, clip_id: str) -> None:
        """A new job, unless it is not."""
        if job.id not in self.book.entries and job.id not in self.ended:
            self.note(self.book.add(job, clip_id))

    def begin(self, entry: Entry, renderer: str | None, now_s: float) -> None:
        """It is handed out; with None, it is in work elsewhere."""
        self.book.begin(entry, Run(renderer=renderer, begun_s=now_s, seen_s=now_s))
        if renderer is not None:
            self.seats[renderer].job_id = entry.job.id
        self.note(entry)

    def adopt(self, entry: Entry, renderer: str, now_s: float) -> None:
        """It is at a job that was not handed to it here; where another has it, or its clip, their leases decide."""
        is_elsewhere = entry.run is not None and entry.run.renderer is None
        is_free = entry.place == "queued" and self.book.runner_of(entry.clip_id) is None
        if not is_elsewhere and not is_free:
            return
        if (other := self.at(self.seats[renderer])) is not None:
            self.put_back(other)
        if entry.run is None:
            self.begin(entry, renderer, now_s)
            return
        entry.run.renderer, self.seats[renderer].job_id = renderer, entry.job.id
        self.note(entry)

    def report(self, entry: Entry, now_s: float, *, done: int | None, total: int | None, preview: bytes | None) -> None:
        """Its renderer says how far it is."""
        if entry.run is not None and entry.run.report(now_s, done=done, total=total, preview=preview):
            self.note(entry)

    def put_back(self, entry: Entry) -> None:
        """To the head of its project's queue."""
        self._rise(entry)
        self.book.put_back(entry)
        self.note(entry)

    def lose_sight(self, entry: Entry, now_s: float) -> None:
        """Another worker is at it, whom we may not know; after some silence it is tried again."""
        self._rise(entry)
        if entry.run is not None:
            entry.run = Run(renderer=None, begun_s=entry.run.begun_s, seen_s=now_s)
        self.note(entry)

    def dismiss(self, renderer: str) -> None:
        """It is gone, and what it was at is free."""
        if renderer in self.seats:
            if (entry := self.at(self.seats[renderer])) is not None:
                self.put_back(entry)
            del self.seats[renderer]

    def expire(self, now_s: float) -> None:
        """Free what silent renderers had."""
        silence_s = self._policy.silence_s
        if now_s - self._expired_s < min(1.0, silence_s / 4):
            return
        self._expired_s = now_s
        for renderer in [name for name, seat in self.seats.items() if now_s - seat.seen_s > silence_s]:
            self.dismiss(renderer)
        for entry in list(self.book.running()):
            if entry.run is not None and entry.run.renderer is None and now_s - entry.run.seen_s > silence_s:
                self.put_back(entry)

    def cancel(self, entry: Entry) -> None:
        """Its cancellation is wished."""
        entry.is_cancelling = True
        if entry.place in ("queued", "waiting"):
            self.book.drop(entry)
        self.note(entry)

    def end(self, entry: Entry, status: Status, now_s: float, *, is_answered: bool = False) -> None:
        """Its end stands in the storage."""
        self._rise(entry)
        self.book.end(entry, status, is_answered=is_answered)
        self.note(entry)
        progress = Progress(job_id=entry.job.id, version=entry.version, status=status, model=entry.job.model)
        self.ended[entry.job.id] = (progress, now_s)

    def forget(self, entry: Entry) -> None:
        """It is over, and how is for the storage to tell."""
        self._rise(entry)
        self.book.end(entry, "cancelled")
        self.note(entry)

    def forget_old(self, now_s: float) -> None:
        """Drop what was kept for whoever might have asked."""
        oldest_s = now_s - self._policy.remember_s
        self.ended = {job_id: end for job_id, end in self.ended.items() if end[1] >= oldest_s}
        for lane in self.book.lanes.values():
            lane.shares.forget(but=lane.sizes)

    def measure(self, entry: Entry, now_s: float) -> None:
        """Learn from a clip that was made here from its first step on."""
        run = entry.run
        if run is None or run.first is None or run.last is None or run.step_s is None or run.first[0] > 1:
            return
        tail_s = now_s - run.last[1] if run.last[0] == run.num_steps else None
        elapsed_s = now_s - run.first[1] + run.first[0] * run.step_s  # the loading of weights left out
        self.book.lane_of(entry).measured(entry, elapsed_s=elapsed_s, tail_s=tail_s, now_s=now_s)

    def sight(self, sighting: Sighting, now_s: float) -> None:
        """Take in an open job as it lay in the storage a moment ago."""
        job = sighting.job
        if sighting.state.is_end:
            return
        self.add(job, sighting.clip_id)
        entry = self.book.entries.get(job.id)
        if entry is None:  # it has ended meanwhile
            return
        is_free = entry.place == "queued" and self.book.runner_of(entry.clip_id) is None
        if sighting.state.status == "in_progress" and is_free:
            self.begin(entry, None, now_s)
        if sighting.is_cancel_wished and not entry.is_cancelling:
            self.cancel(entry)

    def miss(self, job_id: str, status: Status | None, now_s: float) -> None:
        """It is open no longer; None where nothing is left of it."""
        entry = self.book.entries.get(job_id)
        if entry is None or self.is_tended(job_id):
            return
        if status is None:
            self.forget(entry)
        elif status in ENDS:
            self.end(entry, status, now_s)

    def _rise(self, entry: Entry) -> None:
        """Nobody known here is at it any more."""
        if entry.run is not None and entry.run.renderer is not None:
            self.seats[entry.run.renderer].job_id = None
