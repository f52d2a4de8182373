"""One clip from its spec and text states to its record: the one path that batch and online share.

It knows neither Ray nor torch. Faults of the clip end in a dead letter; faults of the machine are raised.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

from farm import ledger, metrics
from farm.errors import AttemptsError, ClipError, StorageError, TransientError, UsageError
from farm.files import Files
from farm.media import EncodedVideo
from farm.metrics import Meter
from farm.provenance import Execution, Record, Worker, build_record
from farm.settings import Settings
from farm.storage.base import Storage
from farm.workers.engine import Order, RenderEngine, Unwatched
from farm.workers.making import ClipJob, Clock, fetch_input, make_clip
from farm.workers.workbench import Workbench

# Faults of one clip, inside a living process or killing it, before it is given up.
MAX_ATTEMPTS = 3

Status = Literal["committed", "existing", "lost", "failed", "skipped"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a clip. `timings` are seconds per stage, empty where nothing was rendered."""

    clip_id: str
    status: Status
    device: str = ""
    device_seconds: float = 0.0
    timings: dict[str, float] = field(default_factory=dict)
    error_class: str | None = None
    message: str | None = None


class Renderer:
    """Makes clips, one after the other.

    Args:
        open_engine: loads the model; called at the first clip that has no record.
        storage: the output, which holds the ledger.
        bench: this process's local folder; it remembers which clip a killed predecessor was at.
        should_stop: asked before each clip; a clip that has begun is finished.
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
        should_stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self._open_engine = open_engine
        self._engine: RenderEngine | None = None
        self._storage = storage
        self._settings = settings
        self._files = Files(settings)
        self._worker = worker
        self._bench = bench
        self._meter = meter
        self._should_stop = should_stop

    def render(self, job: ClipJob) -> Outcome:
        """Make a clip, unless its record is there.

        Raises only for faults that are no clip's: StorageError, TransientError, UsageError (weights do not load).
        """
        clip_id = job.spec.clip_id
        if self._should_stop():
            return Outcome(clip_id=clip_id, status="skipped")
        outcome = self._outcome(job, clip_id)
        self._meter.record(metrics.CLIPS, status=outcome.status, model=job.model_name)
        return outcome

    def _outcome(self, job: ClipJob, clip_id: str) -> Outcome:
        if ledger.read_record(self._storage, clip_id) is not None:
            return Outcome(clip_id=clip_id, status="existing")
        if self._engine is None:
            self._engine = self._open_engine()
        if self._bench.was_killed_at(clip_id):
            self._note_fault(clip_id, "the rendering process died")
        while True:
            try:
                self._refuse_if_used_up(clip_id)
                with self._bench.working_at(clip_id):
                    return self._rendered(job, self._engine)
            except ClipError as error:
                return self._give_up(job, error)
            except (StorageError, TransientError, UsageError):
                raise
            except Exception as error:  # the boundary: what nobody expected is the clip's fault, until it repeats
                if self._note_fault(clip_id, f"{type(error).__name__}: {error}") >= MAX_ATTEMPTS:
                    return self._give_up(job, error)

    def _rendered(self, job: ClipJob, engine: RenderEngine) -> Outcome:
        clock, asset = Clock(), job.spec.image
        with clock.stage("input"):
            most = self._settings.max_input_bytes
            image = None if asset is None else fetch_input(asset, self._files, max_bytes=most)
        path = self._bench.folder / f"{job.spec.clip_id}.mp4"
        try:
            order = Order(spec=job.spec, text=job.text, image=image)
            made = make_clip(job, engine, order, path=path, clock=clock, watch=_StepCounter(self._meter, job))
            record = self._record(job, made.video, execution=engine.execution(job.spec), clock=clock)
            artifacts = ledger.Artifacts(video=path, thumbnail=made.poster, strip=made.strip)
            with clock.stage("publish"):
                commit = ledger.commit_clip(self._storage, record, artifacts=artifacts)
        finally:
            path.unlink(missing_ok=True)
        ledger.clear_failure(self._storage, record.clip_id)
        self._measure(record, clock, has_won=commit.has_won)
        return Outcome(
            clip_id=record.clip_id,
            status="committed" if commit.has_won else "lost",
            device=record.execution.device,
            device_seconds=record.device_seconds,
            timings=clock.timings,
        )

    def _record(self, job: ClipJob, video: EncodedVideo, *, execution: Execution, clock: Clock) -> Record:
        device_seconds = clock.elapsed_s * execution.degree
        price = self._settings.price(execution.device)
        # A CPU's price is that of one core.
        num_units = execution.threads if execution.device.startswith("cpu") else 1
        return build_record(
            job.spec,
            model_name=job.model_name,
            sha256=video.sha256,
            size_bytes=video.size_bytes,
            execution=execution,
            worker=self._worker,
            committed_at=_now(),
            timings={name: round(seconds, 4) for name, seconds in clock.timings.items()},
            device_seconds=round(device_seconds, 4),
            attempts=ledger.count_attempts(self._storage, job.spec.clip_id) + 1,
            cost=None if price is None else device_seconds / 3600 * price * num_units,
            currency=self._settings.currency,
            warnings=job.warnings,
        )

    def _refuse_if_used_up(self, clip_id: str) -> None:
        attempts = ledger.count_attempts(self._storage, clip_id)
        if attempts >= MAX_ATTEMPTS:
            raise AttemptsError(f"it failed {attempts} times; the reasons lie in attempts/{clip_id}")

    def _note_fault(self, clip_id: str, reason: str) -> int:
        return ledger.note_attempt(self._storage, clip_id, reason=reason, worker=self._name)

    def _give_up(self, job: ClipJob, error: Exception) -> Outcome:
        spec, name = job.spec, type(error).__name__
        letter = ledger.DeadLetter(
            clip_id=spec.clip_id,
            run_id=job.run_id,
            row=letter_row(job),
            error_class=name,
            message=str(error),
            traceback="".join(traceback.format_exception(error)),
            attempts=max(1, ledger.count_attempts(self._storage, spec.clip_id)),
            worker=self._name,
            failed_at=_now(),
            command=ledger.reproducing_command(self._storage.uri, spec.clip_id),
        )
        ledger.write_failure(self._storage, letter)
        return Outcome(clip_id=spec.clip_id, status="failed", error_class=name, message=str(error))

    @property
    def _name(self) -> str:
        return f"{self._worker.host}:{self._worker.pid}"

    def _measure(self, record: Record, clock: Clock, *, has_won: bool) -> None:
        meter, device = self._meter, record.execution.device
        for stage, seconds in clock.timings.items():
            meter.record(metrics.STAGE_SECONDS, seconds, stage=stage)
        meter.record(metrics.DEVICE_SECONDS, record.device_seconds, device=device)
        meter.record(metrics.COST, record.cost or 0.0, device=device)
        if not has_won:
            meter.record(metrics.PUBLISH_CONFLICTS)
            return
        video, model = record.video, record.model_name
        meter.record(metrics.CLIP_RENDER_SECONDS, clock.elapsed_s, model=model)
        meter.record(metrics.FRAMES, video.num_frames, model=model)
        meter.record(metrics.VIDEO_SECONDS, video.num_frames / video.fps, model=model)


class _StepCounter(Unwatched):
    def __init__(self, meter: Meter, job: ClipJob) -> None:
        self._meter = meter
        self._model = job.model_name

    def stepped(self, done: int, total: int) -> None:
        self._meter.record(metrics.DENOISE_STEPS, model=self._model)


def letter_row(job: ClipJob) -> dict[str, object]:
    """What a dead letter keeps of its job: all that rendering it again takes."""
    return {
        "row": job.row,
        "id": job.id,
        "prompt": job.spec.prompt,
        "model_name": job.model_name,
        "model": job.model_path,
        "spec": job.spec.canonical_json(),
    }


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
