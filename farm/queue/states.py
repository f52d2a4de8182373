"""The states of a job: OUT/jobs/<job_id>/state/<seq:06d>.json, each put create-only behind the one before.

Of two writers at once one is refused its number, looks again and finds what the other wrote. So there is one order for
all readers, nothing follows an end, and a writer whose lease has passed to another (a state with a higher epoch is
there) writes nothing. A new holder writes its first state before it does anything else, and thereby shuts out all
earlier ones.

Reading costs 1 listing, and 1 read unless the job was never touched; writing 1 put more.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TypedDict

from farm.errors import AlreadyExistsError, JobEndedError, NotFoundError, TakenOverError
from farm.layout import job_folder, job_state_path
from farm.queue import ids
from farm.queue.job import JobFault, JobState, Status
from farm.storage.base import Storage


class Details(TypedDict, total=False):
    """What may be said of a state besides its status; see `JobState`."""

    error: JobFault | None
    step: int | None
    num_steps: int | None
    from_ledger: bool
    device_seconds: float | None
    cost: float | None
    attempts: int | None


class StateLog:
    """Reads and writes states. `clock` gives the storage's time."""

    def __init__(self, storage: Storage, clock: Callable[[], float]) -> None:
        self._storage = storage
        self._clock = clock

    def newest(self, job_id: str) -> JobState:
        """The state that counts: queued (seq 0) for a job that nobody has touched, and for one that is not there."""
        while True:
            seq = self._newest_seq(job_id)
            if seq == 0:
                return JobState(seq=0, epoch=0, status="queued", at=ids.created_at(job_id), by="client", nonce="")
            with suppress(NotFoundError):  # removed since it was listed
                return JobState.from_json(self._storage.read(job_state_path(job_id, seq=seq)))

    def append(
        self,
        job_id: str,
        status: Status,
        *,
        by: str,
        epoch: int,
        behind: JobState | None = None,
        least: int = 0,
        at: float | None = None,
        details: Details | None = None,
    ) -> JobState:
        """Write the next state.

        Args:
            epoch: of the writer's lease; who holds none gives that of the state it has seen.
            behind: what `newest` has just said; asked for if absent.
            least: number of a state that was there once.

        Raises:
            JobEndedError: the job is at its end.
            TakenOverError: another has begun the job since.
            NotFoundError: the state that was there is gone, so the job has been removed.
        """
        newest = behind if behind is not None else self.newest(job_id)
        while True:
            self.refuse(job_id, newest, epoch=epoch, least=least)
            at_s = self._clock() if at is None else at
            state = JobState(seq=newest.seq + 1, epoch=epoch, status=status, at=at_s, by=by, **(details or {}))
            try:
                self._storage.create(job_state_path(job_id, seq=state.seq), state.to_json())
            except AlreadyExistsError:
                newest = self.newest(job_id)
            else:
                return state

    @staticmethod
    def refuse(job_id: str, newest: JobState, *, epoch: int, least: int) -> None:
        """Raise as `append` does where nothing may be written behind `newest`."""
        if newest.seq < least:
            raise NotFoundError("write a state of", job_id, "the job has been removed")
        if newest.is_end:
            raise JobEndedError(f"job {job_id} is {newest.status} already")
        if newest.epoch > epoch:
            raise TakenOverError(f"another worker has begun job {job_id} since; this one stops")

    def _newest_seq(self, job_id: str) -> int:
        names = (path.rsplit("/", 1)[-1].removesuffix(".json") for path in self._storage.names(_folder(job_id)))
        return max((int(name) for name in names if name.isdigit()), default=0)


def _folder(job_id: str) -> str:
    return f"{job_folder(job_id)}/state"
