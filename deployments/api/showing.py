"""Jobs as the API shows them."""

from __future__ import annotations

from deployments.api.answers import FaultAnswer, Video, VideoFile
from deployments.service import Snapshot, VideoService
from farm.queue.expiry import Retention
from farm.queue.job import JobFault, JobView

# How often a client that waits is told to look, in seconds: a tenth of what is left, within these.
LEAST_POLL_S, MOST_POLL_S, UNKNOWN_POLL_S = 0.25, 10.0, 1.0


def video_of(snapshot: Snapshot, service: VideoService) -> Video:
    """All that is known of a job, as this service prices and keeps it."""
    view, progress, status = snapshot.view, snapshot.progress, snapshot.status
    job, state, spec = view.job, view.state, view.job.spec
    is_end = state.is_end
    heard = None if is_end else progress
    step = state.step if heard is None else heard.step
    num_steps = state.num_steps if heard is None else heard.num_steps
    record = view.record
    return Video(
        id=job.id,
        model=job.model,
        prompt=spec.prompt,
        status=status,
        progress=_percent(status, step, num_steps),
        created_at=int(job.created_at),
        completed_at=int(state.at) if is_end else None,
        expires_at=_expires_at(view, service.store.retention),
        error=None if state.error is None else fault_answer(state.error),
        seconds=f"{round(spec.num_frames / spec.fps, 4):g}",
        size=f"{spec.width}x{spec.height}",
        remixed_from_video_id=job.remixed_from,
        width=spec.width,
        height=spec.height,
        num_frames=spec.num_frames,
        fps=spec.fps,
        num_inference_steps=spec.num_inference_steps,
        guidance_scale=spec.guidance_high,
        guidance_low=spec.guidance_low,
        shift=spec.shift,
        solver=spec.solver,
        seed=spec.seed,
        negative_prompt=spec.negative_prompt,
        mode="text" if spec.image is None else "image",
        asked=job.asked,
        priority=job.priority,
        tags=job.tags,
        warnings=list(dict.fromkeys([*job.warnings, *(record.warnings if record is not None else ())])),
        extends=job.extends,
        from_ledger=state.from_ledger,
        is_pinned=job.is_pinned,
        ttl=job.ttl_s,
        clip_id=job.clip_id,
        started_at=int(state.at) if state.status == "in_progress" else None,
        step=step,
        num_steps=num_steps,
        preview_step=None if heard is None else heard.preview_step,
        position=None if heard is None else heard.position,
        wait_s=None if heard is None else heard.starts_in_s,
        eta_s=None if heard is None else heard.ends_in_s,
        renderer=None if heard is None else heard.renderer,
        device_seconds=state.device_seconds,
        render_seconds=None if record is None or state.from_ledger else round(sum(record.timings.values()), 3),
        cost=state.cost,
        currency=None if state.cost is None else service.currency,
        attempts=state.attempts,
        video=None if record is None else VideoFile(size_bytes=record.video.size_bytes, sha256=record.video.sha256),
    )


def poll_after_ms(snapshot: Snapshot) -> int | None:
    """When to look again, None for what will not change. OpenAI's client keeps to the first answer it gets."""
    if snapshot.view.state.is_end:
        return None
    left_s = None if snapshot.progress is None else snapshot.progress.ends_in_s
    wait_s = UNKNOWN_POLL_S if left_s is None else min(MOST_POLL_S, max(LEAST_POLL_S, left_s / 10))
    return round(1000 * wait_s)


def fault_answer(fault: JobFault) -> FaultAnswer:
    """Why a job failed."""
    return FaultAnswer(field=fault.field, code=fault.code, message=fault.message, advice=fault.advice)


def _percent(status: str, step: int | None, num_steps: int | None) -> int:
    """All steps done leaves decoding and writing to do."""
    if status == "completed":
        return 100
    return min(99, 100 * step // num_steps) if step is not None and num_steps else 0


def _expires_at(view: JobView, retention: Retention) -> int | None:
    job, state = view.job, view.state
    found = retention.expires_at(job, state.status, ended_at=state.at) if state.is_end else None
    return None if found is None else int(found)
