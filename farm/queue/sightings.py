"""What the dispatcher reads of the storage, many jobs at once and never under its lock."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from farm import control
from farm.errors import NotFoundError
from farm.ledger.parallel import map_in_order
from farm.logs import fields
from farm.queue.backlog import Pause
from farm.queue.job import Job, JobState
from farm.storage.base import Storage

# The run id under which online rendering is paused and resumed.
ONLINE = "online"

_LOG = logging.getLogger(__name__)


class OpenJobs(Protocol):
    """What the dispatcher asks of `farm.queue.store.JobStore`."""

    @property
    def storage(self) -> Storage: ...

    def open_ids(self) -> Iterable[str]:
        """Jobs that have not ended, in no particular order."""

    def get(self, job_id: str) -> Job:
        """NotFoundError where there is none (yet, or any more)."""

    def state(self, job_id: str) -> JobState:
        """How it stands; NotFoundError as above."""

    def is_cancel_wished(self, job_id: str) -> bool: ...

    def wish_cancel(self, job_id: str, *, by: str) -> object:
        """Also ends it, where nobody holds its lease."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """A job as it lies in the storage."""

    job: Job
    clip_id: str
    state: JobState
    is_cancel_wished: bool


def sightings(store: OpenJobs, job_ids: Iterable[str]) -> Iterator[Sighting]:
    """Those jobs, without the ones that are not whole (yet, or any more)."""
    return (found for found in map_in_order(lambda job_id: _sighting(store, job_id), job_ids) if found is not None)


def states(store: OpenJobs, job_ids: Iterable[str]) -> Iterator[tuple[str, JobState | None]]:
    """How those jobs stand, None for one that was removed."""
    return map_in_order(lambda job_id: (job_id, _state(store, job_id)), job_ids)


def standing_pause(store: OpenJobs) -> Pause | None:
    """Whether nothing is to be begun now. A cancellation of all that is online is no more than that, either."""
    stop = control.standing_stop(store.storage, ONLINE)
    return None if stop is None else Pause(by=stop.by, at=stop.at)


def _sighting(store: OpenJobs, job_id: str) -> Sighting | None:
    try:
        job = store.get(job_id)
        return Sighting(
            job=job,
            clip_id=job.clip_id,
            state=store.state(job_id),
            is_cancel_wished=store.is_cancel_wished(job_id),
        )
    except NotFoundError:
        return None
    except ValueError as error:  # a file that nobody can read must not stop the queue
        _LOG.warning("job cannot be read", extra=fields(job_id=job_id, error=str(error)))
        return None


def _state(store: OpenJobs, job_id: str) -> JobState | None:
    try:
        store.get(job_id)
        return store.state(job_id)
    except (NotFoundError, ValueError):
        return None
