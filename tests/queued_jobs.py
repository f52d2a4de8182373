"""Online jobs for tests of the dispatcher, and a store of them in memory whose every move a test makes itself."""

from __future__ import annotations

import itertools
import uuid
from typing import Any

from example_clips import make_spec

from farm.errors import NotFoundError
from farm.queue.job import Job, JobState, Status
from farm.storage import MemoryStorage

_NUMBERS = itertools.count(1)


def make_job(*, seed: int | None = None, **changes: Any) -> Job:
    """A job of ten device-seconds, younger than all before; `seed` tells clips apart and is new if not given."""
    number = next(_NUMBERS)
    values = {
        "id": f"video_{number:026d}",
        "project": "ann",
        "created_at": float(number),
        "spec": make_spec(seed=1_000_000 + number if seed is None else seed),
        "model": "nano",
        "device_seconds": 10.0,
    }
    return Job.model_validate({**values, **changes})


class ScriptedStore:
    """What the dispatcher reads, without any of the storage's work. `wishes` are those that it made itself."""

    def __init__(self) -> None:
        self.storage = MemoryStorage(uuid.uuid4().hex)
        self.jobs: dict[str, Job] = {}
        self.statuses: dict[str, Status] = {}
        self.open: set[str] = set()
        self.wished: set[str] = set()
        self.wishes: list[str] = []
        self.held: set[str] = set()

    def put(self, job: Job, status: Status = "queued") -> Job:
        self.jobs[job.id] = job
        self.statuses[job.id] = status
        self.open.add(job.id)
        return job

    def finish(self, job_id: str, status: Status = "completed") -> None:
        self.statuses[job_id] = status
        self.open.discard(job_id)

    def remove(self, job_id: str) -> None:
        self.open.discard(job_id)
        del self.jobs[job_id]

    def open_ids(self) -> list[str]:
        return list(self.open)

    def get(self, job_id: str) -> Job:
        if job_id not in self.jobs:
            raise NotFoundError("read", job_id)
        return self.jobs[job_id]

    def state(self, job_id: str) -> JobState:
        self.get(job_id)
        return JobState(seq=0, epoch=0, status=self.statuses[job_id], at=0.0, by="test")

    def is_cancel_wished(self, job_id: str) -> bool:
        return job_id in self.wished

    def wish_cancel(self, job_id: str, *, by: str) -> None:
        self.wished.add(job_id)
        self.wishes.append(job_id)
        if job_id not in self.held and job_id in self.open:
            self.finish(job_id, "cancelled")


class Clock:
    """A clock that a test turns."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s
