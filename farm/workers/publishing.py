"""The end of a clip: its files and its record, or its dead letter."""

from __future__ import annotations

from datetime import UTC, datetime

from farm import ledger, metrics
from farm.metrics import Meter
from farm.provenance import Execution, Record, Stint, Worker, build_record
from farm.settings import Settings
from farm.storage.base import Storage
from farm.workers.making import ClipJob, Clock
from farm.workers.work import Made, Outcome, Work


class Publisher:
    """Writes what stands for good."""

    def __init__(self, storage: Storage, *, settings: Settings, worker: Worker, meter: Meter) -> None:
        self._storage = storage
        self._settings = settings
        self._worker = worker
        self._meter = meter

    def expect(self, job: ClipJob, execution: Execution) -> None:
        """Clips of that model are going to be made like this: have what they cost begin at nothing."""
        device, model = execution.device, job.model_name
        self._meter.begin(metrics.DEVICE_SECONDS, device=device, model=model)
        if self._settings.price(device) is not None:
            self._meter.begin(metrics.COST, device=device, model=model, currency=self._settings.currency)

    def publish(self, made: Made) -> Outcome:
        """Commit a clip. TakenOverError where another worker has begun it since, or it was deleted."""
        work, clock = made.work, made.work.clock
        work.keeper.flush()
        work.turn.check()
        record = self._record(made)
        artifacts = ledger.Artifacts(video=work.path, thumbnail=made.clip.poster, strip=made.clip.strip)
        with clock.stage("publish"):
            commit = ledger.commit_clip(self._storage, record, artifacts=artifacts, turn=work.turn)
            ledger.clear_failure(self._storage, record.clip_id)
            work.turn.end()
        self._measure(record, clock, has_won=commit.has_won)
        return work.end(
            "committed" if commit.has_won else "lost",
            device=record.execution.device,
            device_seconds=record.device_seconds,
        )

    def give_up(self, work: Work) -> Outcome:
        """Write the dead letter of a clip; it says what the last attempt at it did."""
        spec, last = work.job.spec, work.ladder.last
        letter = ledger.DeadLetter(
            clip_id=spec.clip_id,
            run_id=work.job.run_id,
            row=_letter_row(work.job),
            error_class=last.error_class,
            message=last.reason,
            traceback=last.trace,
            attempts=max(1, len(work.ladder.attempts)),
            worker=last.worker,
            failed_at=_utc_now(),
            command=ledger.reproducing_command(self._storage.uri, spec.clip_id),
            execution=work.execution,
        )
        ledger.write_failure(self._storage, letter)
        self._meter.record(metrics.DEAD_LETTERS, error_class=last.error_class, model=work.job.model_name)
        work.turn.forget()
        return work.end("failed", error_class=last.error_class, message=last.reason)

    def _record(self, made: Made) -> Record:
        work, execution = made.work, made.execution
        job, video = work.job, made.clip.video
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
            committed_at=_utc_now(),
            timings={name: round(seconds, 4) for name, seconds in work.clock.timings.items()},
            device_seconds=round(made.device_seconds, 4),
            attempts=len(work.ladder.attempts) + 1,
            cost=None if price is None else made.device_seconds / 3600 * price * num_units,
            currency=self._settings.currency,
            warnings=job.warnings,
            stints=[*stints_before(job), work.clock.stint(self._worker)],
            resumed_at=work.resumed_at,
            lost_steps=work.lost_steps,
            discarded=work.discarded,
        )

    def _measure(self, record: Record, clock: Clock, *, has_won: bool) -> None:
        meter, device, model, video = self._meter, record.execution.device, record.model_name, record.video
        for stage, seconds in clock.timings.items():
            meter.record(metrics.STAGE_SECONDS, seconds, stage=stage)
            meter.record(metrics.STAGE_WORK, seconds, stage=stage, model=model)
        meter.record(metrics.DEVICE_SECONDS, record.device_seconds, device=device, model=model)
        if record.cost is not None and record.currency is not None:
            meter.record(metrics.COST, record.cost, device=device, model=model, currency=record.currency)
        if not has_won:
            meter.record(metrics.PUBLISH_CONFLICTS)
            return
        meter.record(metrics.CLIP_RENDER_SECONDS, clock.elapsed_s, model=model)
        meter.record(metrics.FRAMES, video.num_frames, model=model)
        meter.record(metrics.VIDEO_SECONDS, video.num_frames / video.fps, model=model)


def stints_before(job: ClipJob) -> list[Stint]:
    """Of the gang that handed the clip over, if one did."""
    return [] if job.spent is None or job.spent.stint is None else [job.spent.stint]


def _letter_row(job: ClipJob) -> dict[str, object]:
    """What a dead letter keeps of its job: all that rendering it again takes."""
    return {
        "row": job.row,
        "id": job.id,
        "prompt": job.spec.prompt,
        "model_name": job.model_name,
        "model": job.model_path,
        "spec": job.spec.canonical_json(),
    }


def _utc_now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
