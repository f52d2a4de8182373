"""One clip from its spec and text states to its record: the one path that batch and online share.

It knows neither Ray nor torch. Faults of the clip end in a dead letter; faults of the machine are raised.
"""

from __future__ import annotations

import hashlib
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from farm import ledger, metrics
from farm.errors import AttemptsError, ClipError, InputError, StorageError, TransientError
from farm.files import Files
from farm.media import EncodedVideo, Thumbnailer, VideoWriter
from farm.metrics import Meter
from farm.provenance import Execution, Record, Worker, build_record, video_metadata
from farm.settings import Settings
from farm.spec import AssetRef, ClipSpec
from farm.storage.base import Storage
from farm.workers.engine import ClipText, Frames, RenderEngine
from farm.workers.workbench import Workbench

# Faults of one clip, inside a living process or killing it, before it is given up.
MAX_ATTEMPTS = 3
INPUT_TRIES = 3

Status = Literal["committed", "existing", "lost", "failed", "skipped"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipJob:
    """One clip to make. `row` and `id` are the manifest's, for the dead letter; `warnings` go to the record."""

    spec: ClipSpec
    text: ClipText
    run_id: str
    model_name: str
    row: int | None = None
    id: str | None = None
    warnings: tuple[str, ...] = ()


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


@dataclass(slots=True)
class _Clock:
    """Seconds per stage of one clip."""

    begun_s: float = field(default_factory=time.monotonic)
    timings: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        begun_s = time.monotonic()
        try:
            yield
        finally:
            self.timings[name] = self.timings.get(name, 0.0) + time.monotonic() - begun_s

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self.begun_s


class Renderer:
    """Makes clips, one after the other.

    Args:
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
        """Make a clip, unless its record is there. Raises only for faults of the machine (storage, lost devices)."""
        outcome = self._outcome(job)
        if outcome.status != "skipped":
            self._meter.record(metrics.CLIPS, status=outcome.status, model=job.model_name)
        return outcome

    def _outcome(self, job: ClipJob) -> Outcome:
        clip_id = job.spec.clip_id
        if self._should_stop():
            return Outcome(clip_id=clip_id, status="skipped")
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
            except (StorageError, TransientError):
                raise
            except Exception as error:  # the boundary: whatever the model throws is the clip's fault until proven else
                if self._note_fault(clip_id, f"{type(error).__name__}: {error}") >= MAX_ATTEMPTS:
                    return self._give_up(job, error)

    def _rendered(self, job: ClipJob, engine: RenderEngine) -> Outcome:
        clock = _Clock()
        with clock.stage("input"):
            image = None if job.spec.image is None else self._fetch(job.spec.image)
        path = self._bench.folder / f"{job.spec.clip_id}.mp4"
        try:
            video, pictures = self._encoded(job, engine, image=image, clock=clock, path=path)
            execution = engine.execution(job.spec)
            record = self._record(job, video, execution=execution, clock=clock)
            artifacts = ledger.Artifacts(video=path, thumbnail=pictures.poster(), strip=pictures.strip())
            with clock.stage("publish"):
                commit = ledger.commit_clip(self._storage, record, artifacts=artifacts)
        finally:
            path.unlink(missing_ok=True)
        ledger.clear_failure(self._storage, record.clip_id)
        self._measure(record, clock, has_won=commit.has_won)
        return Outcome(
            clip_id=record.clip_id,
            status="committed" if commit.has_won else "lost",
            device=execution.device,
            device_seconds=record.device_seconds,
            timings=clock.timings,
        )

    def _encoded(
        self, job: ClipJob, engine: RenderEngine, *, image: bytes | None, clock: _Clock, path: Path
    ) -> tuple[EncodedVideo, Thumbnailer]:
        """Streams frames from the engine to the encoder while they decode."""
        spec, pictures = job.spec, Thumbnailer(job.spec.num_frames)
        metadata = video_metadata(spec, model_name=job.model_name)
        size = {"width": spec.width, "height": spec.height}
        with VideoWriter(path, **size, fps=spec.fps, codec=spec.codec, metadata=metadata) as writer:
            for frames in self._frames(job, engine, image=image, clock=clock):
                with clock.stage("encode"):
                    cut = _cut_out(frames, spec)
                    pictures.look(cut)
                    writer.write(cut)
            with clock.stage("encode"):
                return writer.close(), pictures

    def _frames(self, job: ClipJob, engine: RenderEngine, *, image: bytes | None, clock: _Clock) -> Iterator[Frames]:
        """The engine's chunks. What passes until its last step is denoising, the rest of its time decoding."""
        begun_s = time.monotonic()

        def on_step(done: int, total: int) -> None:
            self._meter.record(metrics.DENOISE_STEPS, model=job.model_name)
            if done == total:
                clock.timings["denoise"] = time.monotonic() - begun_s

        chunks = iter(engine.render(job.spec, job.text, image=image, on_step=on_step))
        waited_s = 0.0
        while True:
            asked_s = time.monotonic()
            frames = next(chunks, None)
            waited_s += time.monotonic() - asked_s
            if frames is None:
                clock.timings["decode"] = max(0.0, waited_s - clock.timings.get("denoise", 0.0))
                return
            yield frames

    def _record(self, job: ClipJob, video: EncodedVideo, *, execution: Execution, clock: _Clock) -> Record:
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
            committed_at=datetime.now(UTC).isoformat(timespec="seconds"),
            timings={name: round(seconds, 4) for name, seconds in clock.timings.items()},
            device_seconds=round(device_seconds, 4),
            attempts=ledger.count_attempts(self._storage, job.spec.clip_id) + 1,
            cost=None if price is None else device_seconds / 3600 * price * num_units,
            currency=self._settings.currency,
            warnings=job.warnings,
        )

    def _fetch(self, asset: AssetRef) -> bytes:
        """The input's content, which must still be what was asked for. InputError otherwise."""
        for attempt in range(1, INPUT_TRIES + 1):
            try:
                data = self._files.read(asset.uri, max_bytes=self._settings.max_input_bytes)
                break
            except StorageError as error:
                # Its server is not ours: one that stays away must cost its clips, not the run.
                if attempt == INPUT_TRIES:
                    raise InputError(f"the input cannot be read: {error}") from error
                time.sleep(attempt)
        if hashlib.sha256(data).hexdigest() != asset.sha256:
            raise InputError(f"{asset.uri} has changed since the manifest was read: plan it again")
        return data

    def _refuse_if_used_up(self, clip_id: str) -> None:
        attempts = ledger.count_attempts(self._storage, clip_id)
        if attempts >= MAX_ATTEMPTS:
            raise AttemptsError(f"it failed {attempts} times; the last reasons lie in attempts/{clip_id}")

    def _note_fault(self, clip_id: str, reason: str) -> int:
        worker = f"{self._worker.host}:{self._worker.pid}"
        return ledger.note_attempt(self._storage, clip_id, reason=reason, worker=worker)

    def _give_up(self, job: ClipJob, error: Exception) -> Outcome:
        spec, name = job.spec, type(error).__name__
        letter = ledger.DeadLetter(
            clip_id=spec.clip_id,
            run_id=job.run_id,
            row={"row": job.row, "id": job.id, "model_name": job.model_name, "spec": spec.model_dump(mode="json")},
            error_class=name,
            message=str(error),
            traceback="".join(traceback.format_exception(error)),
            attempts=max(1, ledger.count_attempts(self._storage, spec.clip_id)),
            worker=f"{self._worker.host}:{self._worker.pid}",
            failed_at=datetime.now(UTC).isoformat(timespec="seconds"),
            command=ledger.reproducing_command(self._storage.uri, spec.clip_id),
        )
        ledger.write_failure(self._storage, letter)
        return Outcome(clip_id=spec.clip_id, status="failed", error_class=name, message=str(error))

    def _measure(self, record: Record, clock: _Clock, *, has_won: bool) -> None:
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


def _cut_out(frames_FHWC: Frames, spec: ClipSpec) -> Frames:
    """The middle of what was rendered, as large as was asked for."""
    top = (spec.render_height - spec.height) // 2
    left = (spec.render_width - spec.width) // 2
    return frames_FHWC[:, top : top + spec.height, left : left + spec.width]
