"""The right to work at a job: OUT/jobs/<job_id>/lease."""

from __future__ import annotations

from farm.layout import job_lease_folder
from farm.ledger.lease import LEASE_S, Lease
from farm.queue.job import Job, JobState
from farm.storage.base import Storage


class JobLease(Lease):
    """Held by whoever works at the job. Made by `JobStore.claim`; whoever gets it releases it.

    Its beats go on by themselves; look at `is_lost` (or call `check`) at every step, and write the job's states under
    it: they are refused once another has begun the job.
    """

    def __init__(self, storage: Storage, job: Job, *, lease_s: float = LEASE_S) -> None:
        super().__init__(storage, job_lease_folder(job.id), name=f"job {job.id}", lease_s=lease_s)
        self.job = job
        self.state: JobState | None = None
        """The newest state written under it."""
