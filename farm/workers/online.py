"""Jobs to clips: fetch a job from the dispatcher, claim it in the storage, render it as a batch would, write its end.

The dispatcher only says which job is next. What counts is the lease in the storage, so a job that two dispatchers hand
to two renderers is rendered once, and with no dispatcher at all a job in work still comes to its end.

What becomes of a job:

    its clip is there already               completed, from the ledger
    rendered and committed                  completed
    given up by the ladder, or meant for weights that are not here any more
                                            failed, with what its client can do
    its cancellation was wished             cancelled, within a step
    this renderer is to go, its gang does not start, the storage does not answer
                                            queued again; whoever takes it goes on from its newest state
    another has its lease or its clip       left alone; the dispatcher looks again later
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from farm import ledger
from farm.errors import (
    ClipGoneError,
    FarmError,
    GangStartError,
    Interrupted,
    JobEndedError,
    NotFoundError,
    QueueAwayError,
    StorageError,
    TakenOverError,
    TransientError,
)
from farm.ledger.lease import LEASE_S
from farm.logs import fields, log_context
from farm.metrics import JOB_SECONDS, JOB_WAIT_SECONDS, Meter, NoMeter
from farm.queue.claim import JobLease
from farm.queue.client import Ending, QueueClient
from farm.queue.faults import MODEL_CHANGED, fault_of
from farm.queue.job import Job, JobFault
from farm.queue.store import JobStore
from farm.spec import ClipSpec, DType
from farm.storage.base import Storage
from farm.traces import clip_span
from farm.workers.attending import BEAT_S, Attendance
from farm.workers.encoder import PromptStates, text_of
from farm.workers.engine import ClipText
from farm.workers.listening import Listener
from farm.workers.making import ONLINE_RUN, ClipJob
from farm.workers.renderer import Renderer
from farm.workers.work import Outcome

_LOG = logging.getLogger(__name__)

# Between two questions to a dispatcher that has nothing and says so at once.
IDLE_S = 0.2
# ... and to one that is away, or while the storage is: from the first to the second.
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 8.0


ENDS: tuple[Ending, ...] = ("completed", "answered", "failed", "cancelled")

_EVENTS: dict[Ending, str] = {
    **dict.fromkeys(ENDS, "job ended"),
    "put down": "job put down",
    "held": "job is another's",
    "gone": "job is gone",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class OnlineModel:
    """Which jobs a renderer takes. `warnings_of` as in `Backend`, all else as in `ModelPlan`."""

    name: str
    path: str
    fingerprint: str
    dtype: DType
    warnings_of: Callable[[bytes], tuple[str, ...]] = lambda _: ()

    def is_meant_by(self, spec: ClipSpec) -> bool:
        """Whether these are the weights that were asked for: others may stand under the same name since."""
        return (spec.model, spec.dtype) == (self.fingerprint, self.dtype)


class OnlineRenderer:
    """Renders one job after the other. For one thread; `close` ends its engine.

    Args:
        open_renderer: makes the renderer from what it is to ask before it goes on, and whom to tell of steps.
        name: unlike that of any other renderer, and of an earlier life of this one.
    """

    def __init__(
        self,
        queue: QueueClient,
        store: JobStore,
        model: OnlineModel,
        text: PromptStates,
        open_renderer: Callable[[Callable[[], bool], Listener], Renderer],
        *,
        name: str,
        lease_s: float = LEASE_S,
        beat_s: float = BEAT_S,
        meter: Meter | None = None,
    ) -> None:
        self.name = name
        self._queue = queue
        self._store = store
        self._model = model
        self._text = text
        self._lease_s = lease_s
        self._beat_s = beat_s
        self._meter = meter or NoMeter()
        self._is_leaving: Callable[[], bool] = lambda: False
        self._attendance: Attendance | None = None
        self._renderer = open_renderer(self._should_stop, _Forwarded(lambda: self._attendance))

    def run(self, should_stop: Callable[[], bool]) -> None:
        """Serve jobs until told to stop, whereupon the one in work is put down after its step.

        Raises what is the matter with this renderer and no job: GangStartError, UsageError, and what nobody expected.
        """
        self._is_leaving = should_stop
        waiting, pause_s = threading.Event(), FIRST_PAUSE_S
        try:
            while not should_stop():
                begun_s = time.monotonic()
                try:
                    ending = self.serve_one()
                except GangStartError:
                    raise
                except (TransientError, StorageError) as error:
                    _LOG.warning("renderer waits", extra=fields(seconds=pause_s, error=str(error)))
                    waiting.wait(pause_s)
                    pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
                    continue
                pause_s = FIRST_PAUSE_S
                if ending is None and time.monotonic() - begun_s < IDLE_S:
                    waiting.wait(IDLE_S)
        finally:
            with suppress(QueueAwayError):
                self._queue.left(self.name)

    def serve_one(self) -> Ending | None:
        """Do the next job; how this renderer is rid of it, None where there was none.

        Raises, besides what `run` does, QueueAwayError where nobody is there to ask, StorageError where the storage
        does not answer, and other TransientErrors; the job is then somebody else's.
        """
        job = self._queue.take(self.name, self._model.name)
        if job is None:
            return None
        ending: Ending = "put down"
        try:
            with log_context(job_id=job.id, clip_id=job.clip_id, run_id=ONLINE_RUN):
                ending = self._ending(job)
                _LOG.info(_EVENTS[ending], extra=fields(ending=ending, seconds=round(self._age_s(job), 3)))
            if ending in ENDS:
                self._meter.record(JOB_SECONDS, self._age_s(job), status=ending, model=self._model.name)
        finally:
            with suppress(QueueAwayError):  # it looks into the storage itself
                self._queue.ended(self.name, job.id, ending)
        return ending

    def close(self) -> None:
        """End the engine; nothing can be served afterwards."""
        self._renderer.close()

    def _should_stop(self) -> bool:
        return self._is_leaving() or (self._attendance is not None and self._attendance.should_stop)

    def _age_s(self, job: Job) -> float:
        # By this host's clock: to ask the storage for its own may cost a request.
        return max(0.0, time.time() - job.created_at)

    def _ending(self, job: Job) -> Ending:
        try:
            lease = self._store.claim(job.id, worker=self.name, lease_s=self._lease_s)
        except NotFoundError:
            return "gone"
        if lease is None:
            state = self._store.state(job.id)
            return ("cancelled" if state.status == "cancelled" else "gone") if state.is_end else "held"
        try:
            return self._claimed(lease)
        except (JobEndedError, NotFoundError):
            return "gone"
        except TakenOverError:
            return "held"
        finally:
            lease.release()

    def _claimed(self, lease: JobLease) -> Ending:
        _LOG.info("job claimed", extra=fields(epoch=lease.epoch, waited_seconds=round(self._age_s(lease.job), 3)))
        attendance = Attendance(lease, queue=self._queue, store=self._store, renderer=self.name, beat_s=self._beat_s)
        self._attendance = attendance
        try:
            if not self._can_answer(lease.job):
                self._store.finish(lease.job.id, "failed", by=self.name, lease=lease, error=MODEL_CHANGED)
                return "failed"
            with attendance:
                outcome = self._rendered(lease)
            return self._ended(lease, outcome, attendance)
        except (JobEndedError, NotFoundError, TakenOverError):
            raise
        except (ClipGoneError, Interrupted):
            return self._put_down(lease, attendance)
        except Exception:
            with suppress(FarmError):  # whatever is wrong with this renderer, the next one need not wait for the lease
                self._put_down(lease, attendance)
            raise
        finally:
            self._attendance = None

    def _can_answer(self, job: Job) -> bool:
        return self._model.is_meant_by(job.spec) or ledger.read_record(self._store.storage, job.clip_id) is not None

    def _rendered(self, lease: JobLease) -> Outcome:
        job, storage = lease.job, self._store.storage
        if lease.epoch == 1:
            self._meter.record(JOB_WAIT_SECONDS, self._age_s(job), model=self._model.name)
        if ledger.read_record(storage, job.clip_id) is not None:
            return Outcome(clip_id=job.clip_id, status="existing")
        if lease.epoch == 1:
            _begin_anew(storage, job.clip_id)
        spec = job.spec
        with clip_span("text", job.clip_id, job_id=job.id, model=self._model.name):
            text = text_of(self._text, spec)
        return self._renderer.render(
            ClipJob(
                spec=spec,
                text=text,
                run_id=ONLINE_RUN,
                model_name=self._model.name,
                model_path=self._model.path,
                id=job.id,
                warnings=self._model.warnings_of(text.positive) if isinstance(text, ClipText) else (),
            )
        )

    def _ended(self, lease: JobLease, outcome: Outcome, attendance: Attendance) -> Ending:
        match outcome.status:
            case "committed":
                self._complete(lease, is_ours=True)
                return "completed"
            case "existing":
                self._complete(lease, is_ours=False)
                return "answered"
            case "failed":
                self._fail(lease)
                return "failed"
            case "lost" if ledger.read_record(self._store.storage, lease.job.clip_id) is not None:
                self._complete(lease, is_ours=False)
                return "answered"
            case "lost":
                self._put_down(lease, attendance)
                return "held"
            case _ if attendance.is_cancelled:
                self._store.finish(
                    lease.job.id,
                    "cancelled",
                    by=self.name,
                    lease=lease,
                    step=attendance.done,
                    num_steps=attendance.total,
                )
                _forget(self._store, lease.job.clip_id, worker=self.name)
                return "cancelled"
            case _:
                return self._put_down(lease, attendance)

    def _complete(self, lease: JobLease, *, is_ours: bool) -> None:
        """ClipGoneError where the clip was deleted in this moment."""
        record = ledger.read_record(self._store.storage, lease.job.clip_id)
        if record is None:
            raise ClipGoneError(f"clip {lease.job.clip_id} has been deleted")
        num_steps = lease.job.spec.num_inference_steps
        self._store.finish(
            lease.job.id,
            "completed",
            by=self.name,
            lease=lease,
            step=num_steps,
            num_steps=num_steps,
            from_ledger=not is_ours,
            device_seconds=record.device_seconds if is_ours else 0.0,
            cost=record.cost if is_ours else None,
            attempts=record.attempts if is_ours else None,
        )

    def _fail(self, lease: JobLease) -> None:
        letter = ledger.read_failure(self._store.storage, lease.job.clip_id)
        fault = JobFault(code="render_failed", message="the clip was given up") if letter is None else fault_of(letter)
        attempts = None if letter is None else letter.attempts
        self._store.finish(lease.job.id, "failed", by=self.name, lease=lease, error=fault, attempts=attempts)

    def _put_down(self, lease: JobLease, attendance: Attendance) -> Ending:
        if lease.is_lost:
            return "held"
        self._store.put_state(
            lease.job.id, "queued", by=self.name, lease=lease, step=attendance.done, num_steps=attendance.total
        )
        return "put down"


class _Forwarded:
    """A `Listener` that passes on what it hears to whoever attends to the job in work."""

    def __init__(self, attendance: Callable[[], Attendance | None]) -> None:
        self._attendance = attendance

    def began(self, job: ClipJob, step: int) -> None:
        if (attendance := self._attendance()) is not None:
            attendance.began(job, step)

    def stepped(self, job: ClipJob, done: int, total: int) -> None:
        if (attendance := self._attendance()) is not None:
            attendance.stepped(job, done, total)

    def previewed(self, job: ClipJob, step: int, image: bytes) -> None:
        if (attendance := self._attendance()) is not None:
            attendance.previewed(job, step, image)


def _begin_anew(storage: Storage, clip_id: str) -> None:
    """Whoever asks online for a clip that was given up before asks for it to be tried again."""
    if ledger.read_failure(storage, clip_id) is not None:
        ledger.clear_attempts(storage, clip_id)
        ledger.clear_failure(storage, clip_id)


def _forget(store: JobStore, clip_id: str, *, worker: str) -> None:
    """Remove the states of a clip whose job was cancelled; another job of that clip begins it anew."""
    with suppress(StorageError, TransientError):  # what is left goes with the garbage
        ledger.begin_clip(store.storage, clip_id, worker=worker).forget()
