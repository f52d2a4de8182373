"""What can be asked about jobs. What is done with them, and where their files lie, says `farm.queue.store`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import suppress
from itertools import islice

from farm.errors import NotFoundError
from farm.layout import OPEN, job_cancel_path, job_lease_folder, job_path, open_path
from farm.ledger.commit import read_record
from farm.ledger.lease import Lease
from farm.ledger.parallel import map_in_order
from farm.queue import ids
from farm.queue.clock import StorageClock
from farm.queue.job import ENDS, Job, JobState, JobView, Status
from farm.queue.listing import Order, Page, listed_ids
from farm.queue.remembered import Remembered
from farm.queue.states import StateLog
from farm.storage.base import Storage

# A page with a choice of statuses gives up after so many jobs that were of none of them.
MAX_LOOKED_AT = 1000


class JobReader:
    """All that is known of the jobs of an output. For any number of threads and processes at once.

    Args:
        clock: the storage's time in seconds; made from the storage if absent.
    """

    def __init__(self, storage: Storage, *, clock: Callable[[], float] | None = None) -> None:
        self.storage = storage
        self.now = clock or StorageClock(storage)
        self._states = StateLog(storage, self.now)
        self._remembered = Remembered()

    def get(self, job_id: str) -> Job:
        """The job. NotFoundError where there is none, also for what could not be a job's name."""
        if ids.is_job_id(job_id):
            for path in (open_path(job_id), job_path(job_id)):  # at its end spec is put before open goes
                with suppress(NotFoundError):
                    return self._remembered.job(Job.from_json(self.storage.read(path)))
        raise NotFoundError("find", job_id, "there is no such job")

    def state(self, job_id: str) -> JobState:
        """How far a job is. For jobs that are there: of others it says that they are queued."""
        return self._states.newest(job_id)

    def view(self, job_id: str) -> JobView:
        """The job, its state, and its clip's record if it is completed. NotFoundError where there is no such job."""
        job = self.get(job_id)
        return self._viewed(job, self.state(job_id), with_record=True)

    def _viewed(self, job: Job, state: JobState, *, with_record: bool) -> JobView:
        is_completed = with_record and state.status == "completed"
        return JobView(job=job, state=state, record=read_record(self.storage, job.clip_id) if is_completed else None)

    def open_ids(self) -> set[str]:
        """The jobs that are not at their end, by one listing; also some that have just got there."""
        names = (path.rsplit("/", 1)[-1] for path in self.storage.names(OPEN))
        return {name for name in names if ids.is_job_id(name)}

    def views(self, job_ids: Iterable[str], *, with_records: bool = False) -> Iterator[JobView]:
        """Many jobs at once, in the order of their ids as given; those that are not there are left out."""
        found = map_in_order(lambda job_id: self._view_listed(job_id, with_record=with_records), job_ids)
        return (view for view in found if view is not None)

    def list(
        self,
        project: str | None,
        *,
        limit: int = 20,
        after: str | None = None,
        order: Order = "desc",
        statuses: Collection[Status] | None = None,
        with_records: bool = False,
    ) -> Page:
        """A project's jobs (those of all projects for None) by their creation, the newest first.

        Args:
            after: the last job of the page before this one.
            statuses: only these.
        """
        listed = self.open_ids() if statuses is None or set(statuses) - ENDS else set()
        has_ended = statuses is None or bool(ENDS.intersection(statuses))
        names = listed_ids(self.storage, project, listed, after=after, order=order, has_ended=has_ended)
        found: list[JobView] = []
        num_looked_at, last = 0, None
        while len(found) < limit and num_looked_at < MAX_LOOKED_AT:
            chunk = list(islice(names, limit - len(found)))
            if not chunk:
                return Page(jobs=tuple(found), next_after=None)
            num_looked_at, last = num_looked_at + len(chunk), chunk[-1]
            for view in self.views(chunk, with_records=with_records):
                is_there = view.state.is_end or view.job.id in listed
                is_asked_for = statuses is None or view.state.status in statuses
                if is_there and is_asked_for and project in (None, view.job.project):
                    found.append(view)
        return Page(jobs=tuple(found), next_after=last if next(names, None) is not None else None)

    def _view_listed(self, job_id: str, *, with_record: bool) -> JobView | None:
        with suppress(NotFoundError):
            job = self._remembered.find_job(job_id) or self.get(job_id)
            state = self._remembered.end_of(job_id) or self._remembered.state(job_id, self.state(job_id))
            return self._viewed(job, state, with_record=with_record)
        return None

    def is_cancel_wished(self, job_id: str) -> bool:
        """Whether someone wants the job ended; one look."""
        return self.storage.exists(job_cancel_path(job_id))

    def is_held(self, job_id: str) -> bool:
        """Whether a living process works at the job."""
        return Lease(self.storage, job_lease_folder(job_id), name=f"job {job_id}").held_by() is not None
