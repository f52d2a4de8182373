"""Taking the files of a job away, so that nobody who sleeps through it can undo it.

A late writer (it slept while another ended and removed the job) may put spec and listing anew. Either it does so before
the states are cleared, and a second `unlist` after that takes them away; or it does after, and finds neither open/ nor
the states that it knew, and takes away its traces itself.
"""

from __future__ import annotations

from farm.layout import job_folder, job_path, listing_path, open_path, ref_path
from farm.queue import ids
from farm.queue.job import Job
from farm.storage.base import Storage


def unlist(storage: Storage, job: Job) -> None:
    """From here on nobody finds the job."""
    for path in (open_path(job.id), job_path(job.id), listing_path_of(job), ref_path(job.clip_id, holder_of(job))):
        storage.delete(path)


def clear(storage: Storage, job: Job) -> None:
    """Its states, leases and wishes, until no late writer has put anything more."""
    while below := list(storage.names(job_folder(job.id))):
        for path in below:
            storage.delete(path)
    storage.prune(job_folder(job.id))


def erase(storage: Storage, job: Job) -> None:
    """All traces of someone who came too late for a job that has been removed."""
    unlist(storage, job)
    clear(storage, job)


def is_gone(storage: Storage, job_id: str) -> bool:
    """Whether a job that was there has been removed, or is about to be."""
    return not storage.exists(open_path(job_id)) and not storage.exists(job_path(job_id))


def holder_of(job: Job) -> str:
    """The job as a holder of its clip."""
    return f"{job.project}--{job.id}"


def is_held_by(holder: str, project: str) -> bool:
    """Whether that holder is a job of the project, whose name may be the beginning of another's."""
    return holder.rsplit("--", 1)[0] == project


def listing_path_of(job: Job) -> str:
    """Where its project's listing has it."""
    return listing_path(job.project, job.id, created_at=ids.created_at(job.id))
