"""Jobs of a run on a cluster: their names, and how two submissions of one run end in one job.

A job is called farm-<run_id>-<n>. Names are given once, so of two submissions at once one is refused its name, looks
again, and finds the other's job.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from farm.errors import FarmError, TransientError

TRIES = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class FarmJob:
    """One job as its cluster shows it. `exit_code` is the driver's, None where that is not known (yet)."""

    name: str
    status: str
    is_unfinished: bool
    exit_code: int | None = None


class JobStore(Protocol):
    """Whatever keeps jobs by name: a cluster's Jobs API, or Kubernetes."""

    def jobs_of(self, run_id: str) -> Sequence[FarmJob]:
        """All that are known of a run, in any order."""

    def create(self, name: str) -> None:
        """Have the job begin. FarmError where it is not taken, as where the name is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """The job that renders a run now, and whether it had been there before."""

    name: str
    status: str
    was_there: bool


def job_name(run_id: str, number: int) -> str:
    """The n-th job of a run."""
    return f"{_prefix(run_id)}{number}"


def job_number(name: str, run_id: str) -> int | None:
    """n, None for a name that is not of that run. KubeRay puts a dash and a word of its own behind it."""
    number = name.removeprefix(_prefix(run_id)).split("-", 1)[0]
    return int(number) if name.startswith(_prefix(run_id)) and number.isdigit() else None


def newest_of(jobs: Sequence[FarmJob], run_id: str) -> FarmJob | None:
    """The last that was submitted."""
    return max(jobs, key=lambda job: job_number(job.name, run_id) or 0, default=None)


def unfinished_of(jobs: Sequence[FarmJob], run_id: str) -> FarmJob | None:
    """The last that has not ended."""
    return newest_of([job for job in jobs if job.is_unfinished], run_id)


def take_up(store: JobStore, run_id: str) -> Taken:
    """The run's unfinished job, or a new one after those that ended."""
    for _ in range(TRIES):
        jobs = store.jobs_of(run_id)
        unfinished = unfinished_of(jobs, run_id)
        if unfinished is not None:
            return Taken(name=unfinished.name, status=unfinished.status, was_there=True)
        name = job_name(run_id, 1 + max((job_number(job.name, run_id) or 0 for job in jobs), default=0))
        try:
            store.create(name)
        except FarmError:
            if all(job.name != name for job in store.jobs_of(run_id)):
                raise
        else:
            return Taken(name=name, status="PENDING", was_there=False)
    raise TransientError(f"{TRIES} jobs of run {run_id} were submitted elsewhere meanwhile, and ended at once")


def _prefix(run_id: str) -> str:
    return f"farm-{run_id}-"
