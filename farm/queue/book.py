"""All open jobs of a dispatcher, and where each of them is. Knows neither renderers nor locks nor the storage."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping

from farm.queue.entries import Entry, Run
from farm.queue.job import Job, Status
from farm.queue.lane import Lane, ModelLane
from farm.queue.owners import Owners


class Book:
    """Each job is in one place (see `farm.queue.entries.Place`), and no two of one clip run at once.

    Args:
        models: those that renderers are there for; a job of any other waits in a lane of its own.
        weights: of projects.
    """

    def __init__(self, models: Mapping[str, ModelLane], weights: Mapping[str, float]) -> None:
        self.entries: dict[str, Entry] = {}
        self.owners = Owners()
        self._weights = weights
        self._tickets = itertools.count()
        self.lanes = {name: self._new_lane(name, model) for name, model in models.items()}
        self._clips: dict[str, Entry] = {}
        self._waiting: dict[str, list[Entry]] = {}

    def lane(self, model: str) -> Lane:
        """Of that model; a new one where the configuration has none."""
        if model not in self.lanes:
            self.lanes[model] = self._new_lane(model, ModelLane())
        return self.lanes[model]

    def lane_of(self, entry: Entry) -> Lane:
        return self.lanes[entry.job.model]

    def running(self) -> Iterator[Entry]:
        """All that is in work, here or elsewhere."""
        for lane in self.lanes.values():
            yield from lane.running.values()

    def ending(self) -> list[Entry]:
        """Those whose cancellation has only to be written."""
        return [entry for entry in self.entries.values() if entry.place == "ending"]

    def runner_of(self, clip_id: str) -> Entry | None:
        """The job of that clip that is in work."""
        return self._clips.get(clip_id)

    def add(self, job: Job, clip_id: str) -> Entry:
        """A job that was not known; it is queued."""
        entry = Entry(job=job, clip_id=clip_id, seconds=self.lane(job.model).seconds(job))
        self.entries[job.id] = entry
        self._queue(entry)
        return entry

    def next(self, model: str) -> Entry | None:
        """The job whose turn it is, still queued. Those before it whose clip is in work are set aside."""
        lane = self.lane(model)
        for entry in lane.answerable:
            if entry.clip_id not in self._clips:
                return entry
        while (head := lane.head()) is not None and head.clip_id in self._clips:
            lane.pull(head)
            head.place = "waiting"
            self._waiting.setdefault(head.clip_id, []).append(head)
        return head

    def begin(self, entry: Entry, run: Run) -> None:
        """It is in work from now on. Its clip must be free."""
        lane = self.lane_of(entry)
        if entry.run is None and entry.place == "queued" and not entry.is_answerable:
            lane.charge(entry)
        self._leave_queue(entry)
        entry.place, entry.run, entry.is_returned = "running", run, False
        lane.running[entry.job.id] = entry
        self._clips[entry.clip_id] = entry
        self.owners.count(entry, running=1)

    def put_back(self, entry: Entry) -> None:
        """It is in work no longer and goes before all others of its project, unless its cancellation is wished."""
        self._leave_work(entry, is_made=False)
        if entry.is_answerable:  # it was not there after all
            entry.is_answerable, entry.seconds = False, self.lane_of(entry).seconds(entry.job)
        entry.is_returned = True
        if entry.is_cancelling:
            entry.place = "ending"
        else:
            self._queue(entry)

    def drop(self, entry: Entry) -> None:
        """Nobody is to begin it: it waits for its end to be written."""
        self._leave_queue(entry)
        entry.place = "ending"

    def end(self, entry: Entry, status: Status, *, is_answered: bool = False) -> None:
        """It is over."""
        share = entry.run.share_done if entry.run is not None else 1.0
        if entry.charged is not None and (is_answered or status != "completed"):
            unused = entry.charged if is_answered else entry.charged * (1.0 - share)
            self.lane_of(entry).shares.give_back(entry.sharer, unused)
        if entry.place == "running":
            self._leave_work(entry, is_made=status == "completed")
        elif entry.place != "ending":
            self._leave_queue(entry)
        del self.entries[entry.job.id]

    def _queue(self, entry: Entry) -> None:
        self.lane_of(entry).put(entry)
        self._count_queued(entry, 1)

    def _count_queued(self, entry: Entry, sign: int) -> None:
        lane = self.lane_of(entry)
        lane.count(entry, sign)
        self.owners.count(entry, queued=sign, device_seconds=sign * entry.seconds * lane.model.num_ranks)

    def _leave_queue(self, entry: Entry) -> None:
        """Wherever it waits."""
        lane, clip_id = self.lane_of(entry), entry.clip_id
        if entry.is_answerable:
            lane.answerable.remove(entry)
        elif entry.place == "waiting":
            self._waiting[clip_id].remove(entry)
            if not self._waiting[clip_id]:
                del self._waiting[clip_id]
        else:
            lane.pull(entry)
        self._count_queued(entry, -1)

    def _leave_work(self, entry: Entry, *, is_made: bool) -> None:
        lane, clip_id = self.lane_of(entry), entry.clip_id
        del lane.running[entry.job.id], self._clips[clip_id]
        entry.run = None
        self.owners.count(entry, running=-1)
        for waiting in self._waiting.pop(clip_id, ()):
            if is_made:
                self._make_answerable(waiting)
            else:
                self.lane_of(waiting).put(waiting)

    def _make_answerable(self, entry: Entry) -> None:
        self._count_queued(entry, -1)
        entry.place, entry.is_answerable, entry.seconds = "queued", True, 0.0
        self._count_queued(entry, 1)
        self.lane_of(entry).answerable.append(entry)

    def _new_lane(self, name: str, model: ModelLane) -> Lane:
        return Lane(name, model, weights=self._weights, new_ticket=lambda: next(self._tickets))
