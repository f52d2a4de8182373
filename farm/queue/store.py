"""Jobs in the output: the truth about what was asked for online and what became of it.

    open/<job_id>                                    the whole Job, until its end
    idempotency/<hash>.json                          the whole Job and what it came with (farm.queue.idempotency)
    jobs/<job_id>/state/<seq>.json, lease/<epoch>.*  farm.queue.states, farm.queue.claim
    jobs/<job_id>/cancel.json                        someone wishes its end
    jobs/<job_id>/spec.json, listing/..., expiry/... the Job and where it is found, from its end on
    refs/<clip_id>/<project>--<job_id>               from the first claim on, and for good if it is completed
    refs/<sha256>/<project>--<job_id>                of its picture, as long as it is there (farm.queue.inputs)

Each change is a row of puts whose every beginning is a sound state, so that a process may die between any two:

- submit: [idempotency], open. Nothing is answered before open is there, and with it the job is whole: there are no half
  submissions. Dead after the first: whoever sends the request again finds the same job there and puts open.
- claim: lease, state in_progress, ref. Dead in between: the lease ends by itself and another claims.
- finish: spec, listing, expiry, and ref if completed, at once; the final state; then open goes. Dead before the state:
  the job is claimed and finished again, with the same puts. Dead after it: it has ended, and `settle` removes open.
- remove: removing/<job_id> with the whole Job, then idempotency, open, spec (from here on nobody finds it), listing,
  the refs, clip and picture if nobody holds them, all below jobs/<job_id>, removing/. Dead anywhere: `sweep` goes on.

What counts is decided by create-only puts alone (`StateLog`): of a cancellation and a claim, or of two ends, one wins.
Whoever puts something before that decision and loses has put nothing that says more than what is there.

Requests to the storage, where "a + b" come one after the other; locally a put is 1 to 8 ms (fsync of file and folder,
shared by those at once), all else far below one: submit 1 put, 1 + 1 with an idempotency key; get 1 read while open,
then 2; state 1 listing and 1 read; view both, and 1 read more once completed; claim 3 listings, 3 puts, 1 read, 2 looks
and 1 at the clock; finish 1 listing, 1 read, 2 or 3 puts at once + 1 put, 1 or 2 deletions; completing also looks
whether the clip stands: 1 listing, 1 look. A page of 20 ended jobs reads 2 files and lists 1 folder for each, 16 at
once, and next time none; open ones are listed each time. What other projects have open costs a page only their names.
"""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from typing import Unpack

from farm.errors import (
    AlreadyExistsError,
    ClipGoneError,
    IdempotencyConflict,
    JobActiveError,
    JobEndedError,
    NotFoundError,
    TakenOverError,
)
from farm.layout import (
    expiry_path,
    job_cancel_path,
    job_path,
    job_state_path,
    open_path,
    removing_path,
)
from farm.ledger.holding import Holders
from farm.ledger.lease import LEASE_S
from farm.ledger.parallel import map_in_order
from farm.ledger.refs import drop_ref, put_ref
from farm.ledger.tombstones import delete_clip_if_unheld, is_standing
from farm.queue import ids
from farm.queue.claim import JobLease
from farm.queue.expiry import Retention
from farm.queue.idempotency import IdempotencyKey, Submission, earlier_submission, forget_submission, read_submission
from farm.queue.inputs import hold_input, release_input
from farm.queue.job import Job, JobState, Status
from farm.queue.reading import JobReader
from farm.queue.removal import clear, erase, holder_of, is_gone, listing_path_of, unlist
from farm.queue.states import Details
from farm.storage.base import Storage

# Whoever takes longer than this to submit a job looks again whether it is there: it may have been removed meanwhile.
SLOW_S = 5.0


class JobStore(JobReader):
    """All that is done with jobs in an output. For any number of threads and processes at once.

    Args:
        retention: how long jobs stay after their end where they were not asked for otherwise.
        clock: the storage's time in seconds; made from the storage if absent.
    """

    def __init__(
        self, storage: Storage, *, retention: Retention | None = None, clock: Callable[[], float] | None = None
    ) -> None:
        super().__init__(storage, clock=clock)
        self.retention = retention or Retention()
        self._holders = Holders(storage)
        self._lock = threading.Lock()
        self._last_id_ms = 0

    def __reduce__(self) -> tuple[Callable[..., JobStore], tuple[Storage, Retention]]:
        return _opened, (self.storage, self.retention)

    def new_id(self, project: str) -> str:
        """A name for a job that is to be submitted now; of one process, names come in the order they were asked for."""
        with self._lock:
            # In whole milliseconds, as names tell time: halves of them are rounded now up, now down.
            self._last_id_ms = max(round(self.now() * 1000), self._last_id_ms + 1)
            return ids.new_job_id(project, now_s=self._last_id_ms / 1000)

    def submit(self, job: Job, *, idempotency: IdempotencyKey | None = None) -> Job:
        """Put a job down for good. Returns another job (another id) where the idempotency key stands for that.

        A job that was found under the key may be given itself, to finish what the first try did not come to.

        Raises:
            IdempotencyConflict: the key stands for another request.
            TransientError: the job's picture, which lay in the output, is gone.
        """
        hold_input(self.storage, job)
        if idempotency is None:
            self.storage.create(open_path(job.id), job.to_json())
            return self._remembered.job(job)
        try:
            put = self._submit_once(job, idempotency)
        except IdempotencyConflict:
            if job.idempotency is None:
                release_input(self.storage, job)
            raise
        if put.id != job.id:
            release_input(self.storage, job)
        return self._remembered.job(put)

    def _submit_once(self, job: Job, key: IdempotencyKey) -> Job:
        begun_s, is_first = time.monotonic(), job.idempotency is None
        job = job.model_copy(update={"idempotency": key.digest})
        data = Submission(fingerprint=key.fingerprint, job=job).to_json()
        while True:
            if is_first:
                with suppress(AlreadyExistsError):
                    self.storage.create(key.path, data)
                    break
            earlier = earlier_submission(self.storage, key)
            if earlier is not None and self._resubmit(earlier, key):
                return earlier
            is_first = True  # the key is free again
        self.storage.create(open_path(job.id), job.to_json())
        if time.monotonic() - begun_s > SLOW_S:
            self._resubmit(job, key)
        return job

    def _resubmit(self, job: Job, key: IdempotencyKey) -> bool:
        """Make sure that the job is there. False where it has been removed, and with it its key.

        A removal forgets the key before all else: a key that is there after our put says that there was none.
        """
        if not self.storage.exists(job_path(job.id)):
            self.storage.create(open_path(job.id), job.to_json())
        still = read_submission(self.storage, key.digest)
        if still is not None and still.job.id == job.id:
            return True
        self.storage.delete(open_path(job.id))
        return False

    def wish_cancel(self, job_id: str, *, by: str) -> JobState:
        """Have a job end. It ends here and now where nobody is at it, else whoever holds it ends it at the next step.

        Returns the newest state; asking again is harmless, and ends a job whose holder has died since.
        """
        job, state = self.get(job_id), self.state(job_id)
        if not state.is_end:
            wish = {"by": by, "at": self.now(), "nonce": uuid.uuid4().hex}
            with suppress(AlreadyExistsError):
                self.storage.create(job_cancel_path(job_id), json.dumps(wish).encode())
        while not state.is_end and not (state.status == "in_progress" and self.is_held(job_id)):
            with suppress(JobEndedError, TakenOverError):
                return self._end(job, "cancelled", behind=state, epoch=state.epoch, by=by, details={})
            state = self.state(job_id)
        return state

    def claim(self, job_id: str, *, worker: str, lease_s: float = LEASE_S) -> JobLease | None:
        """Begin to work at a job. None where another holds it, it has ended, or was to be cancelled (and now is).

        NotFoundError where there is no such job.
        """
        job = self.get(job_id)
        if self.state(job_id).is_end:
            return None
        lease = JobLease(self.storage, job, lease_s=lease_s)
        if lease.try_acquire() is not None:
            return None
        try:
            if self._begin(lease, worker=worker):
                return lease
        except BaseException:
            lease.release()
            raise
        lease.release()
        self._leave(job)
        return None

    def _begin(self, lease: JobLease, *, worker: str) -> bool:
        job = lease.job
        with suppress(JobEndedError, TakenOverError):
            lease.state = self._states.append(job.id, "in_progress", epoch=lease.epoch, by=worker)
            put_ref(self.storage, job.clip_id, holder_of(job))
            if not self.is_cancel_wished(job.id):
                return self.storage.exists(open_path(job.id))  # else it has ended since it was read, and been removed
            self.finish(job.id, "cancelled", by=worker, lease=lease)
        return False

    def _leave(self, job: Job) -> None:
        """Take back what was put for a job that had ended before."""
        if is_gone(self.storage, job.id):
            erase(self.storage, job)
            return
        state = self.state(job.id)
        if state.is_end:
            self.settle(job, state)

    def put_state(
        self, job_id: str, status: Status, *, by: str, lease: JobLease, **details: Unpack[Details]
    ) -> JobState:
        """Write what a claimed job is now, other than its end: queued where its holder puts it down.

        Raises:
            JobEndedError, TakenOverError, NotFoundError: it is no longer ours; see `StateLog.append`.
        """
        least = 0 if lease.state is None else lease.state.seq
        state = self._states.append(job_id, status, epoch=lease.epoch, by=by, least=least, details=details)
        lease.state = state
        return state

    def finish(
        self, job_id: str, status: Status, *, by: str, lease: JobLease | None = None, **details: Unpack[Details]
    ) -> JobState:
        """End a job, completed, failed or cancelled. The lease stays the caller's, to be released.

        Without a lease only a job is ended that was never claimed (as one that the ledger answers).

        Raises:
            JobEndedError: it has ended already.
            TakenOverError: another has begun it since.
            NotFoundError: it has been removed.
            ClipGoneError: it was to be completed, and its clip is not there (any more). Nothing has been ended.
        """
        job = lease.job if lease is not None else self.get(job_id)
        epoch, least = (0, 0) if lease is None or lease.state is None else (lease.epoch, lease.state.seq)
        newest = self.state(job_id)
        self._states.refuse(job_id, newest, epoch=epoch, least=least)
        state = self._end(job, status, behind=newest, epoch=epoch, by=by, lease=lease, details=details)
        if lease is not None:
            lease.state = state
        return state

    def _end(
        self,
        job: Job,
        status: Status,
        *,
        behind: JobState,
        epoch: int,
        by: str,
        details: Details,
        lease: JobLease | None = None,
    ) -> JobState:
        at = self.now()
        puts = [(job_path(job.id), job.to_json()), (listing_path_of(job), b"")]
        expires_at = self.retention.expires_at(job, status, ended_at=at)
        if expires_at is not None:
            puts.append((expiry_path(job.id, expires_at=expires_at), b""))
        for _ in map_in_order(lambda put: self.storage.create(*put), puts):
            pass
        if lease is None:
            self._refuse_if_ended(job)
        if status == "completed":
            self._hold_clip(job, is_held=lease is not None)
        try:
            state = self._states.append(job.id, status, by=by, epoch=epoch, behind=behind, at=at, details=details)
        except JobEndedError:
            self.settle(job, self.state(job.id))
            raise
        if self._is_removed(job, behind, lease):
            erase(self.storage, job)
            raise NotFoundError("end", job.id, "the job has been removed")
        self.settle(job, state)
        return state

    def _refuse_if_ended(self, job: Job) -> None:
        """Without a lease anyone may have ended the job since it was read, and removed it."""
        if self.storage.exists(open_path(job.id)):
            return
        if self.state(job.id).is_end:
            raise JobEndedError(f"job {job.id} has just ended")
        erase(self.storage, job)
        raise NotFoundError("end", job.id, "the job has been removed")

    def _is_removed(self, job: Job, known: JobState, lease: JobLease | None) -> bool:
        """Whether another has ended and removed the job while we slept, which takes no less than a lease's time."""
        if lease is None:
            return is_gone(self.storage, job.id)
        return lease.is_lost and not self.storage.exists(job_state_path(job.id, seq=known.seq))

    def _hold_clip(self, job: Job, *, is_held: bool) -> None:
        """A clip that is being deleted in this moment either finds our ref, or is found deleted here."""
        if not is_held:
            put_ref(self.storage, job.clip_id, holder_of(job))
        if not is_standing(self.storage, job.clip_id):
            if not is_held:
                drop_ref(self.storage, job.clip_id, holder_of(job))
            raise ClipGoneError(f"clip {job.clip_id}, which was to answer job {job.id}, is not there")

    def settle(self, job: Job, state: JobState) -> None:
        """What remains to be done for a job once its end is written; harmless to repeat."""
        if state.status != "completed":
            drop_ref(self.storage, job.clip_id, holder_of(job))
        self.storage.delete(open_path(job.id))

    def remove(self, job_id: str) -> None:
        """Leave nothing of a job that has ended; its clip goes too unless someone else holds it.

        Raises:
            NotFoundError: there is no such job.
            JobActiveError: it has not ended.
        """
        job = self.get(job_id)
        if not self.state(job_id).is_end:
            self.get(job_id)  # another may just have removed it
            raise JobActiveError(f"job {job_id} is not at its end: cancel it first")
        self.storage.create(removing_path(job_id), job.to_json())
        self.finish_removal(job)

    def finish_removal(self, job: Job) -> None:
        """Do what `remove` does, from any point at which it was left."""
        self._remembered.forget(job.id)
        forget_submission(self.storage, job)
        unlist(self.storage, job)
        delete_clip_if_unheld(self.storage, job.clip_id, by=job.id, holders=self._holders)
        release_input(self.storage, job)
        clear(self.storage, job)
        unlist(self.storage, job)  # what someone put who still saw the states
        self.storage.delete(removing_path(job.id))


def _opened(storage: Storage, retention: Retention) -> JobStore:
    return JobStore(storage, retention=retention)
