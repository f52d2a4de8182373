"""The queue of online jobs in memory: who is next, who is at what, and when it will be ready.

The storage is the truth and this only orders: a job is begun by whoever claims its lease there, and its end is written
there by whoever rendered it. So a dispatcher may be wrong about a job without harm, may be rebuilt at any time, and
two of them at once make nothing twice.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Literal

from farm.queue.backlog import Backlog, ModelBacklog, Pause, Progress
from farm.queue.client import Answer, Ending
from farm.queue.desk import Desk, Policy
from farm.queue.entries import Entry
from farm.queue.forecast import Forecast, forecast, outlook
from farm.queue.job import Job, Status
from farm.queue.lane import Lane, ModelLane
from farm.queue.sightings import OpenJobs, sightings, standing_pause, states
from farm.queue.telling import free_in_s, model_backlog, progress_of, renderer_states

__all__ = ["CancelAnswer", "Dispatcher", "ModelLane", "Policy"]

CancelAnswer = Literal["dropped", "stopping", "unknown"]
"""What became of a cancellation.

    dropped    nobody renders the job, and nobody will: its end can be written at once
    stopping   a renderer is at it and will stop at its next step
    unknown    no such job here: it has ended, or was never heard of
"""

_STATUSES: Mapping[Ending, Status] = {
    "completed": "completed",
    "answered": "completed",
    "failed": "failed",
    "cancelled": "cancelled",
}


class Dispatcher:
    """A `farm.queue.client.QueueClient`, and what the API and the autoscaler ask.

    Safe for several threads: every method holds one lock, for microseconds; forecasts are made outside of it. Only
    `rebuild` and `look` touch the storage, never under the lock; they are for one thread.

    Args:
        models: those that renderers are there for. A job of any other waits in a lane of its own.
        clock: seconds, of any beginning.
        on_change: called with the id of a job after each change of it, without the lock; must be quick.
    """

    def __init__(
        self,
        store: OpenJobs,
        models: Mapping[str, ModelLane],
        *,
        policy: Policy | None = None,
        clock: Callable[[], float] = time.monotonic,
        on_change: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._store = store
        self._models = models
        self._policy = policy or Policy()
        self._clock = clock
        self._on_change = on_change
        self._lock = threading.Lock()
        self._begun_s = clock()
        self._pause: Pause | None = None
        self._clear()

    def _clear(self) -> None:
        self._desk = Desk(self._models, self._policy, now_s=self._clock())
        self._forecasts: dict[str, Forecast] = {}

    # What renderers call.

    def take(self, renderer: str, model: str) -> Job | None:
        """See `QueueClient`. What it had been handed and not rid of goes to the next who asks, itself included."""
        with self._changing() as (desk, now_s):
            desk.expire(now_s)
            if (left := desk.at(desk.seat(renderer, model, now_s))) is not None:
                desk.put_back(left)
            entry = None if self._pause is not None else desk.book.next(model)
            if entry is None:
                return None
            desk.begin(entry, renderer, now_s)
            return entry.job

    def stepped(
        self, renderer: str, job_id: str, *, done: int | None, total: int | None, preview: bytes | None = None
    ) -> Answer:
        """See `QueueClient`. Who reports a job that nobody here is at, has it: it may be an earlier dispatcher's."""
        with self._changing() as (desk, now_s):
            entry = desk.book.entries.get(job_id)
            if entry is None:
                desk.hear(renderer, now_s)
                return "go on"
            desk.seat(renderer, entry.job.model, now_s)
            if not desk.is_at(renderer, entry):
                desk.adopt(entry, renderer, now_s)
            if desk.is_at(renderer, entry):
                desk.report(entry, now_s, done=done, total=total, preview=preview)
            return "stop" if entry.is_cancelling else "go on"

    def ended(self, renderer: str, job_id: str, ending: Ending) -> None:
        """See `QueueClient`. An end counts whoever tells it, as it stands in the storage."""
        with self._changing() as (desk, now_s):
            desk.hear(renderer, now_s)
            entry = desk.book.entries.get(job_id)
            if entry is None:
                return
            if (status := _STATUSES.get(ending)) is not None:
                if ending == "completed" and desk.is_at(renderer, entry):
                    desk.measure(entry, now_s)
                desk.end(entry, status, now_s, is_answered=ending == "answered")
            elif ending == "gone":
                desk.forget(entry)
            elif desk.is_at(renderer, entry) and ending == "held":
                desk.lose_sight(entry, now_s)
            elif desk.is_at(renderer, entry):
                desk.put_back(entry)

    def left(self, renderer: str) -> None:
        """See `QueueClient`."""
        with self._changing() as (desk, _):
            desk.dismiss(renderer)

    # What the API and the autoscaler ask.

    def submitted(self, job: Job) -> None:
        """A job has just been put into the storage."""
        clip_id = job.clip_id
        with self._changing() as (desk, _):
            desk.add(job, clip_id)

    def cancel(self, job_id: str) -> CancelAnswer:
        """Its cancellation is wished. Writes nothing."""
        with self._changing() as (desk, _):
            entry = desk.book.entries.get(job_id)
            if entry is None:
                return "unknown"
            if not entry.is_cancelling:
                desk.cancel(entry)
            return "stopping" if entry.place == "running" else "dropped"

    @property
    def pause(self) -> Pause | None:
        """Whether nothing is handed out now, and who said so. What has begun is finished all the same."""
        return self._pause

    def backlog(self) -> Backlog:
        """The whole queue as it stands."""
        with self._changing() as (desk, now_s):
            desk.expire(now_s)
            return Backlog(
                models={name: self._model_backlog(lane, now_s) for name, lane in desk.book.lanes.items()},
                projects=desk.book.owners.projects(),
                keys=desk.book.owners.keys(),
                renderers=renderer_states(desk),
                pause=self._pause,
            )

    def progress(self, job_id: str) -> Progress | None:
        """Where a job stands; None where it was never heard of, or ended long ago."""
        return self.progresses([job_id]).get(job_id)

    def progresses(self, job_ids: Iterable[str]) -> dict[str, Progress]:
        """Of those jobs that are known."""
        wanted = tuple(job_ids)
        self._look_ahead(wanted)
        with self._lock:
            found = [self._progress(job_id, self._clock()) for job_id in wanted]
        return {progress.job_id: progress for progress in found if progress is not None}

    def upcoming(self, model: str, count: int) -> tuple[Job, ...]:
        """The queued jobs of a model that are expected to begin next, in their order."""
        with self._lock:
            queued = self._desk.book.entries
            first = next((job_id for job_id, entry in queued.items() if _is_queued(entry, model)), None)
        if first is None:
            return ()
        self._look_ahead((first,))
        with self._lock:
            ahead = self._forecasts.get(model)  # none where that first one was taken meanwhile
            entries = (self._desk.book.entries.get(job_id) for job_id in (() if ahead is None else ahead.starts))
            waiting = (entry.job for entry in entries if entry is not None and _is_queued(entry, model))
            return tuple(itertools.islice(waiting, count))

    # What its owner calls.

    def rebuild(self) -> int:
        """Forget everything and read what is open, sixteen jobs at once. Returns how many. StorageError as of `look`.

        Renderers that are at a job are known again by their next report.
        """
        with self._lock:
            self._clear()
        self.look()
        return len(self._desk.book.entries)

    def look(self) -> None:
        """Catch up with the storage: the pause, jobs whose notice was lost, jobs that ended elsewhere; and write the
        end of cancelled jobs that nobody renders. Two listings, and reads of what is new. StorageError: try again."""
        with self._lock:
            known = set(self._desk.book.entries)
        listed = set(self._store.open_ids())
        pause = standing_pause(self._store)
        with self._lock:
            fresh = sorted(job_id for job_id in listed - known if job_id not in self._desk.ended)
            vanished = [job_id for job_id in known - listed if not self._desk.is_tended(job_id)]
        seen = list(sightings(self._store, fresh))
        stand = list(states(self._store, vanished))
        with self._changing() as (desk, now_s):
            self._pause = pause
            for sighting in seen:
                desk.sight(sighting, now_s)
            for job_id, state in stand:
                desk.miss(job_id, None if state is None else state.status, now_s)
            desk.expire(now_s)
            desk.forget_old(now_s)
            ending = [entry.job.id for entry in desk.book.ending()]
        for job_id in ending:
            self._store.wish_cancel(job_id, by="dispatcher")

    @contextmanager
    def _changing(self) -> Iterator[tuple[Desk, float]]:
        """Holds the lock, and tells of what changed once it is free again. Gives the desk and the time."""
        with self._lock:
            desk = self._desk
            yield desk, self._clock()
            changed, desk.changed = desk.changed, []
        for job_id in changed:
            self._on_change(job_id)

    def _look_ahead(self, job_ids: tuple[str, ...]) -> None:
        """Have a forecast that is not too old for each model of those jobs."""
        with self._lock:
            now_s, book = self._clock(), self._desk.book
            entries = [book.entries[job_id] for job_id in job_ids if job_id in book.entries]
            lanes = [book.lanes[name] for name in {entry.job.model for entry in entries if entry.place == "queued"}]
            seen = [
                outlook(lane, free_in_s(self._desk, lane, now_s)) for lane in lanes if self._is_stale(lane.name, now_s)
            ]
        made = {one.model: forecast(one, now_s) for one in seen}
        with self._lock:
            self._forecasts.update(made)

    def _is_stale(self, model: str, now_s: float) -> bool:
        made = self._forecasts.get(model)
        return made is None or now_s - made.made_s > self._policy.forecast_s

    def _progress(self, job_id: str, now_s: float) -> Progress | None:
        entry = self._desk.book.entries.get(job_id)
        if entry is None:
            return self._desk.ended[job_id][0] if job_id in self._desk.ended else None
        ahead = self._forecasts.get(entry.job.model)
        return progress_of(self._desk, entry, now_s, ahead=ahead, is_paused=self._pause is not None)

    def _model_backlog(self, lane: Lane, now_s: float) -> ModelBacklog:
        speed = lane.clips_per_minute(now_s, window_s=self._policy.window_s, since_s=self._begun_s)
        return model_backlog(self._desk, lane, now_s, clips_per_minute=speed)


def _is_queued(entry: Entry, model: str) -> bool:
    return entry.place == "queued" and entry.job.model == model
