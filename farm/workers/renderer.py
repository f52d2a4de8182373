"""One clip from its spec and text states to its record: the one path that batch and online share.

It knows neither Ray nor torch. Faults of the clip climb its ladder (`farm.workers.ladder`) and may end in a dead
letter; faults of the machine are raised.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextvars import copy_context

from farm import ledger, metrics
from farm.errors import (
    ClipYielded,
    GangError,
    LeaderLostError,
    StorageError,
    TakenOverError,
    TransientError,
    UsageError,
)
from farm.files import Files
from farm.logs import fields, log_context
from farm.metrics import Meter, Shapes
from farm.provenance import Execution, Worker
from farm.settings import Settings
from farm.spec import ClipSpec
from farm.storage.base import Storage
from farm.workers.engine import CheckpointPolicy, Handover, Order, RenderEngine
from farm.workers.keeping import ClipWatch, StateKeeper
from farm.workers.ladder import MAX_ATTEMPTS, Ladder
from farm.workers.listening import Listener, Nobody, Teller
from farm.workers.making import ClipJob, fetch_input, make_clip
from farm.workers.publishing import Publisher
from farm.workers.resuming import Start, start_of
from farm.workers.work import Made, Outcome, Work
from farm.workers.workbench import Workbench

__all__ = ["MAX_ATTEMPTS", "Outcome", "Renderer"]

_LOG = logging.getLogger(__name__)


class Renderer:
    """Makes clips, one after the other.

    Args:
        open_engine: loads the model; called at the first clip that has no record.
        storage: the output, which holds the ledger.
        bench: this process's local folder; it remembers which clips killed predecessors were at.
        policy: when the states of a clip in work are kept.
        should_stop: asked before each clip, after each of its steps and between pieces of its decoding; a clip that has
            begun is put down.
        handover: where the engine holds one of two experts. The giver's clips end at the boundary, "advanced"; the
            taker's begin there, and one that is not so far is "skipped".
        listener: hears how clips come on.
        preview_every_s: how often it gets to see one, see `Order`.
    """

    def __init__(
        self,
        open_engine: Callable[[], RenderEngine],
        storage: Storage,
        *,
        settings: Settings,
        worker: Worker,
        bench: Workbench,
        meter: Meter,
        policy: CheckpointPolicy | None = None,
        should_stop: Callable[[], bool] = lambda: False,
        handover: Handover | None = None,
        listener: Listener | None = None,
        preview_every_s: float | None = None,
    ) -> None:
        self._open_engine = open_engine
        self._engine: RenderEngine | None = None
        self._is_broken = False
        self._storage = storage
        self._settings = settings
        self._files = Files(settings)
        self._worker = worker
        self._name = f"{worker.host}:{worker.pid}"
        self._bench = bench
        self._meter = meter
        self._shapes = Shapes()
        self._policy = policy or CheckpointPolicy()
        self._should_stop = should_stop
        self._handover = handover
        self._listener = listener or Nobody()
        self._preview_every_s = preview_every_s
        self._publisher = Publisher(storage, settings=settings, worker=worker, meter=meter)
        # Two threads, as a state of the next clip must not wait for the upload of a video.
        self._keeping = ThreadPoolExecutor(1, "keep-states")
        self._publishing = ThreadPoolExecutor(1, "publish")

    def render(self, job: ClipJob) -> Outcome:
        """Make a clip, unless its record is there.

        Raises only for faults that are no clip's: StorageError, UsageError (weights do not load), GangStartError and
        other TransientErrors. Who takes the clip up again goes on from its newest state.
        """
        (outcome,) = self.render_all([job])
        return outcome

    def render_all(self, jobs: Iterable[ClipJob]) -> Generator[Outcome, None, None]:
        """Make clips, each published while the next is rendered; one outcome for each, in their order.

        An outcome thus waits for the next clip to be made. Raises as `render` does, after the outcomes so far.
        """
        behind: list[Future[Outcome]] = []
        try:
            for job in jobs:
                with log_context(clip_id=job.spec.clip_id, run_id=job.run_id, model=job.model_name):
                    made = self._make(job)
                    behind.append(self._publishing.submit(copy_context().run, self._settled, job, made))
                if len(behind) > 1:
                    yield behind.pop(0).result()
        except Exception:
            for outcome in behind:
                yield outcome.result()
            raise
        else:
            for outcome in behind:
                yield outcome.result()
        finally:
            wait(behind)

    def close(self) -> None:
        """End the engine; nothing can be rendered afterwards."""
        self._publishing.shutdown()
        self._keeping.shutdown()
        if self._engine is not None:
            self._engine.close()

    def _make(self, job: ClipJob) -> Made | Outcome:
        clip_id = job.spec.clip_id
        if self._should_stop():
            return Outcome(clip_id=clip_id, status="skipped")
        if ledger.read_record(self._storage, clip_id) is not None:
            return Outcome(clip_id=clip_id, status="existing")
        if self._handover is not None and self._handover.is_giver and self._is_past(self._handover.step(job.spec), job):
            return Outcome(clip_id=clip_id, status="advanced")
        execution = self._whole_engine().execution(job.spec)  # a gang starts now: loading weights is no clip's time
        self._publisher.expect(job, execution)
        work = self._begun(job)
        with work.in_hand():
            return self._publisher.give_up(work) if work.ladder.is_used_up else self._made(work)

    def _is_past(self, step: int, job: ClipJob) -> bool:
        return any(state.step >= step for state in ledger.kept_states(self._storage, job.spec.clip_id)) or step == 0

    def _begun(self, job: ClipJob) -> Work:
        turn = ledger.begin_clip(self._storage, job.spec.clip_id, worker=self._name)
        ladder = Ladder(self._storage, turn, worker=self._name)
        left = self._bench.left_behind(turn.clip_id)
        if left is not None and left.is_killed:
            ladder.leader_died(LeaderLostError("the process that led its rendering was killed"))
        return Work(
            job=job,
            turn=turn,
            ladder=ladder,
            note=self._bench.begin(turn.clip_id, steps=0 if left is None else left.steps),
            keeper=StateKeeper(turn, self._keeping),
            path=self._bench.folder / f"{turn.clip_id}.mp4",
            lost_steps=0 if job.spent is None else job.spent.lost_steps,
        )

    def _made(self, work: Work) -> Made | Outcome:
        """Try until the clip is made or given up."""
        while True:
            try:
                with log_context(attempt=len(work.ladder.attempts) + 1):
                    return self._attempt(work, self._whole_engine())
            except ClipYielded:
                _LOG.info("clip put down", extra=fields(step=work.keeper.kept_step))
                return work.end("skipped")
            except TakenOverError:
                self._count_lost(work, go_on_at=work.keeper.kept_step)
                return work.end("lost")
            except GangError as error:
                self._is_broken = True
                is_the_end = self._is_the_end(work, error)
            except (StorageError, TransientError, UsageError):
                raise
            except Exception as error:  # the boundary: what nobody expected is the clip's fault, until it repeats
                is_the_end = self._is_the_end(work, error)
            if is_the_end:
                return self._publisher.give_up(work)

    def _is_the_end(self, work: Work, error: Exception) -> bool:
        attempt = len(work.ladder.attempts) + 1
        is_the_end = work.ladder.is_the_end(error)
        known = {"error_class": type(error).__name__, "error": str(error), "step": work.keeper.kept_step}
        _LOG.warning("clip attempt failed", extra=fields(attempt=attempt, is_last=is_the_end, **known))
        return is_the_end

    def _attempt(self, work: Work, engine: RenderEngine) -> Made | Outcome:
        job, spec, is_tame = work.job, work.job.spec, work.ladder.is_tame
        work.clock.begin_try()
        with work.clock.stage("input"):
            most = self._settings.max_input_bytes
            image = None if spec.image is None else fetch_input(spec.image, self._files, max_bytes=most)
        execution = engine.execution(spec, is_tame=is_tame)
        work.execution = work.execution if is_tame else execution
        start = self._start(work, execution)
        if start.step < self._takes_over_at(spec):
            return work.end("skipped")  # what was handed over is of no use here: the other gangs are to make it anew
        execution = execution.model_copy(update={"high_noise": start.high_noise})
        order = Order(
            spec=spec,
            text=job.states,
            image=image,
            state=start.state,
            is_tame=is_tame,
            policy=self._policy,
            high_noise=start.high_noise,
            preview_every_s=self._preview_every_s,
        )
        watch = self._watch(work, begun_at=start.step, degree=execution.degree)
        self._tell_begun(spec, start, execution)
        try:
            advanced = self._advanced(work, engine, order, execution, watch)
            return advanced or self._rendered(work, engine, order, execution, watch)
        except Exception:
            work.keeper.flush()  # what was kept before the fault counts; that it could not be kept is the worse fault
            raise

    def _advanced(
        self, work: Work, engine: RenderEngine, order: Order, execution: Execution, watch: ClipWatch
    ) -> Outcome | None:
        """Bring the clip to where it is handed over; None where that is not ours to do."""
        if self._handover is None or not self._handover.is_giver:
            return None
        with work.clock.stage("denoise", step=None if order.state is None else order.state.step):
            for _ in engine.render(order, watch):
                raise RuntimeError("frames from an engine of the high-noise expert alone")
        work.keeper.flush()
        device_seconds, stint = work.clock.elapsed_s * execution.degree, work.clock.stint(self._worker)
        return work.end("advanced", device=execution.device, device_seconds=device_seconds, stint=stint)

    def _rendered(self, work: Work, engine: RenderEngine, order: Order, execution: Execution, watch: ClipWatch) -> Made:
        job, clock = work.job, work.clock
        clip = make_clip(job, engine, order, path=work.path, clock=clock, watch=watch)
        device_seconds = clock.elapsed_s * execution.degree
        if job.spent is not None:
            clock.add(job.spent.timings)
            device_seconds += job.spent.device_seconds
        return Made(work=work, clip=clip, execution=execution, device_seconds=device_seconds)

    def _tell_begun(self, spec: ClipSpec, start: Start, execution: Execution) -> None:
        shape = f"{spec.width}x{spec.height}x{spec.num_frames}"
        known = {"shape": shape, "steps": spec.num_inference_steps, "degree": execution.degree}
        if start.state is None:
            _LOG.info("clip begun", extra=fields(**known))
        else:
            _LOG.info("clip resumed", extra=fields(step=start.step, **known))
        _LOG.debug("clip asks for", extra=fields(prompt=spec.prompt, negative_prompt=spec.negative_prompt))

    def _takes_over_at(self, spec: ClipSpec) -> int:
        """Steps that must be done before this engine can go on; 0 where it can begin."""
        return 0 if self._handover is None or self._handover.is_giver else self._handover.step(spec)

    def _start(self, work: Work, execution: Execution) -> Start:
        """Where the clip goes on. What had been done beyond that is lost."""
        take_over_at = self._takes_over_at(work.job.spec)
        start = start_of(work.turn, work.job.spec, execution, handover_step=take_over_at)
        # Taking over what another gang has just done is no resumption.
        is_resumed = start.state is not None and (work.job.spent is None or start.step != take_over_at)
        work.resumed_at += (start.step,) if is_resumed else ()
        self._meter.record(metrics.RESUMES, float(is_resumed), model=work.job.model_name)
        work.discarded += start.discarded
        work.keeper = StateKeeper(work.turn, self._keeping, kept_step=start.step)
        self._count_lost(work, go_on_at=start.step)
        return start

    def _count_lost(self, work: Work, *, go_on_at: int) -> None:
        lost_steps = max(0, work.note.steps - go_on_at)
        work.lost_steps += lost_steps
        work.note.stepped(go_on_at)
        self._meter.record(metrics.LOST_STEPS, lost_steps, model=work.job.model_name)

    def _watch(self, work: Work, *, begun_at: int, degree: int) -> ClipWatch:
        spec = work.job.spec
        teller = Teller(self._listener, work.job)
        teller.began(begun_at)
        return ClipWatch(
            work.keeper,
            work.note,
            teller,
            every_steps=self._policy.every_steps,
            should_stop=self._should_stop,
            meter=self._meter,
            model=work.job.model_name,
            shape=self._shapes.label(width=spec.width, height=spec.height, num_frames=spec.num_frames),
            degree=degree,
        )

    def _whole_engine(self) -> RenderEngine:
        if self._engine is None:
            self._engine = self._open_engine()
        if self._is_broken:
            self._engine.rebuild()
            self._is_broken = False
        return self._engine

    def _settled(self, job: ClipJob, made: Made | Outcome) -> Outcome:
        outcome = made if isinstance(made, Outcome) else self._published(made)
        _tell(outcome)
        if outcome.status not in ("skipped", "advanced"):  # it comes back, or goes on
            self._meter.record(metrics.CLIPS, status=outcome.status, model=job.model_name)
        return outcome

    def _published(self, made: Made) -> Outcome:
        with made.work.in_hand():
            try:
                return self._publisher.publish(made)
            except TakenOverError:
                return made.work.end("lost")


def _tell(outcome: Outcome) -> None:
    """What became of a clip; of those that were only passed over, for whoever looks closely."""
    known = {"seconds": round(sum(outcome.timings.values()), 3), "device_seconds": round(outcome.device_seconds, 3)}
    match outcome.status:
        case "committed" | "advanced":
            lost = {"lost_steps": outcome.lost_steps or None, "resumes": outcome.num_resumes or None}
            stages = {stage: round(seconds, 3) for stage, seconds in outcome.timings.items()}
            _LOG.info(f"clip {outcome.status}", extra=fields(**known, stages=stages, **lost))
        case "failed":
            _LOG.error("clip failed", extra=fields(error_class=outcome.error_class, error=outcome.message))
        case "lost":
            _LOG.info("clip lost to another worker")
        case _:
            _LOG.debug(f"clip {outcome.status}")
