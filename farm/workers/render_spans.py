"""What a gang did at a clip, as a span of the clip's trace: from the moment it was taken up to its end, with stages."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from farm.timeline import laid_out
from farm.traces import spans

if TYPE_CHECKING:
    from farm.workers.work import Work


def tell_render(work: Work, status: str, *, error_class: str | None = None) -> None:
    """Where spans are wanted; `status` is an outcome's, or "left" where the clip is for a later turn."""
    found = spans()
    if found is None:
        return
    clock, job, execution = work.clock, work.job, work.execution
    spec, begun_s = job.spec, clock.begun_at_s
    attempts = [(datetime.fromisoformat(noted.at).timestamp(), noted) for noted in work.ladder.attempts if noted.at]
    facts = {
        "clip_id": spec.clip_id,
        "run_id": job.run_id,
        "job_id": job.job_id,
        "model": job.model_name,
        "shape": f"{spec.width}x{spec.height}x{spec.num_frames}",
        "steps": spec.num_inference_steps,
        "degree": None if execution is None else execution.degree,
        "device": None if execution is None else execution.device,
        "resumed": bool(work.resumed_at),
        "resumed_at": work.resumed_at or None,
        "lost_steps": work.lost_steps or None,
        "attempts": len(work.ladder.attempts) + (status == "committed"),
        "status": status,
        "error.type": error_class,
    }
    found.tell_of_clip(
        "render",
        spec.clip_id,
        job_id=job.job_id,
        begun_s=begun_s,
        facts=facts,
        stages=laid_out(clock.stages, begun_s),
        events=[
            ("attempt failed", at_s, {"error.type": noted.error_class, "error": noted.reason})
            for at_s, noted in attempts
            if at_s >= begun_s
        ],
        error=error_class,
    )
