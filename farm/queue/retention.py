"""Removing jobs whose time is over, and what processes that died have left.

A job that will expire has OUT/expiry/<YYYY-MM-DD-HH>/<job_id> from its end on, under the hour in which it does. Hours
that are over are worked off, the oldest first, so nothing is read of the jobs that stay; a job goes within an hour
after its time.

Half-made submissions are not looked for, as there are none (`farm.queue.store`): an idempotency key whose job was not
put down may stay, and serves whoever sends the request again; a picture that came with it goes after a day.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice

from farm.errors import JobActiveError, NotFoundError
from farm.layout import EXPIRY, INPUTS, REFS, REMOVING, expiry_path, hour_of
from farm.queue import ids
from farm.queue.inputs import delete_input_if_unheld
from farm.queue.job import Job
from farm.queue.removal import is_gone
from farm.queue.store import JobStore

# Longer than any removal takes, and longer than from a job's last state to its leaving open/.
LEFT_BEHIND_S = 60.0

# Longer than from a picture's arrival, or its ref's, to its job's submission.
ORPHANED_S = 24 * 3600.0

NUM_AT_ONCE = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Swept:
    """What a sweep has done.

    Args:
        num_expired: jobs removed, as their time was over.
        num_finished: removals that had been left half done.
        num_settled: jobs at their end that were still called open.
        num_inputs: pictures deleted that no job has.
        is_more: it stopped since it had done enough; there is more to do.
    """

    num_expired: int
    num_finished: int
    num_settled: int
    num_inputs: int
    is_more: bool


def sweep(store: JobStore, *, now_s: float | None = None, limit: int = NUM_AT_ONCE) -> Swept:
    """Do some of what there is to do. Safe beside all else, other sweeps included; call it every few minutes.

    Costs 4 listings and, of each kind of things, `limit` looked at: of open jobs and pictures some by chance, as most
    are well.
    `now_s` is the storage's time.
    """
    now_s = store.storage.now() if now_s is None else now_s
    removals = list(islice(_left_removals(store, now_s), limit))
    for job in removals:
        store.finish_removal(job)
    due = list(islice(_due(store, now_s), limit))
    num_expired = sum(_expire(store, job_id, hour=hour, now_s=now_s) for hour, job_id in due)
    for hour in dict.fromkeys(hour for hour, _ in due):
        store.storage.prune(f"{EXPIRY}/{hour}")
    return Swept(
        num_expired=num_expired,
        num_finished=len(removals),
        num_settled=_settle_some(store, now_s, limit),
        num_inputs=_drop_some_inputs(store, now_s, limit),
        is_more=limit in (len(removals), len(due)),
    )


def _left_removals(store: JobStore, now_s: float) -> Iterator[Job]:
    for entry in store.storage.list(REMOVING):
        if now_s - entry.mtime_s > LEFT_BEHIND_S:
            with suppress(NotFoundError):  # done since it was listed
                yield Job.from_json(store.storage.read(entry.path))


def _due(store: JobStore, now_s: float) -> Iterator[tuple[str, str]]:
    """Hours that are over, and the jobs that should go with them."""
    for hour in store.storage.folders(EXPIRY):
        if hour >= hour_of(now_s):
            return
        names = list(store.storage.names(f"{EXPIRY}/{hour}"))
        if not names:
            store.storage.prune(f"{EXPIRY}/{hour}")
        yield from ((hour, name) for name in (path.rsplit("/", 1)[-1] for path in names) if ids.is_job_id(name))


def _expire(store: JobStore, job_id: str, *, hour: str, now_s: float) -> bool:
    """Remove a job if its time is over; its mark goes in any case, for there is another where it has to be."""
    is_removed = False
    with suppress(NotFoundError, JobActiveError):  # removed before; or whoever was to end it died, and it goes on
        job, state = store.get(job_id), store.state(job_id)
        expires_at = store.retention.expires_at(job, state.status, ended_at=state.at) if state.is_end else None
        if expires_at is not None and hour_of(expires_at) < hour_of(now_s):
            store.remove(job_id)
            is_removed = True
        elif expires_at is not None:  # kept for longer by now
            store.storage.create(expiry_path(job_id, expires_at=expires_at), b"")
    store.storage.delete(f"{EXPIRY}/{hour}/{job_id}")
    return is_removed


def _settle_some(store: JobStore, now_s: float, limit: int) -> int:
    open_ids = sorted(store.open_ids())
    num_settled = 0
    for view in store.views(random.sample(open_ids, min(limit, len(open_ids)))):
        if view.state.is_end and now_s - view.state.at > LEFT_BEHIND_S:
            store.settle(view.job, view.state)
            num_settled += 1
    return num_settled


def _drop_some_inputs(store: JobStore, now_s: float, limit: int) -> int:
    old = [entry.path for entry in store.storage.list(INPUTS) if now_s - entry.mtime_s > ORPHANED_S]
    return sum(_drop_input(store, path, now_s) for path in random.sample(old, min(limit, len(old))))


def _drop_input(store: JobStore, path: str, now_s: float) -> bool:
    """Delete a picture that no job has; refs of jobs that are not there were left by processes that died."""
    digest = path.rsplit("/", 1)[-1].split(".", 1)[0]
    for ref in list(store.storage.list(f"{REFS}/{digest}")):
        if now_s - ref.mtime_s > ORPHANED_S and is_gone(store.storage, ref.path.rsplit("--", 1)[-1]):
            store.storage.delete(ref.path)
    return delete_input_if_unheld(store.storage, path)
