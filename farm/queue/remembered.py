"""Jobs and their ends read lately. For listings, which say what is there; a removed job may still be in here."""

from __future__ import annotations

import threading
from typing import TypeVar

from farm.queue.job import Job, JobState

# Of each; neither jobs nor their ends ever change.
NUM_REMEMBERED = 4096

Value = TypeVar("Value")


class Remembered:
    """A bounded memory for any number of threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._jobs: dict[str, Job] = {}
        self._ends: dict[str, JobState] = {}

    def find_job(self, job_id: str) -> Job | None:
        return self._jobs.get(job_id)

    def end_of(self, job_id: str) -> JobState | None:
        return self._ends.get(job_id)

    def job(self, job: Job) -> Job:
        with self._lock:
            _keep(self._jobs, job.id, job)
        return job

    def state(self, job_id: str, state: JobState) -> JobState:
        if state.is_end:
            with self._lock:
                _keep(self._ends, job_id, state)
        return state

    def forget(self, job_id: str) -> None:
        with self._lock:
            self._jobs.pop(job_id, None)
            self._ends.pop(job_id, None)


def _keep(kept: dict[str, Value], key: str, value: Value) -> None:
    kept[key] = value
    if len(kept) > NUM_REMEMBERED:
        del kept[next(iter(kept))]
