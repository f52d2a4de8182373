"""/v1/queue: what waits, what runs, and whether it may."""

from __future__ import annotations

from fastapi import APIRouter

from deployments.api.access import Admin, Reader, Service
from deployments.api.answers import ModelQueue, PauseAnswer, Queue, RendererAnswer
from deployments.api.documenting import ok
from deployments.api.routes import examples
from deployments.principal import Principal
from deployments.service import VideoService

router = APIRouter(prefix="/v1/queue", tags=["queue"])


@router.get("", summary="The queue", responses={200: ok("As it is now.", examples.QUEUE)})
async def show_queue(service: Service, principal: Reader) -> Queue:
    """What waits and what runs, by model. Renderers' jobs are named to admins alone."""
    return await _shown(service, principal)


@router.post("/pause", summary="Hand out no more jobs", responses={200: ok("As it is now.", examples.QUEUE)})
async def pause_queue(service: Service, principal: Admin) -> Queue:
    """Jobs in work are finished, and no other begins until the resume. Takes a second to be heard."""
    await service.control("pause", by=principal.name)
    return await _shown(service, principal)


@router.post("/resume", summary="Go on", responses={200: ok("As it is now.", examples.QUEUE)})
async def resume_queue(service: Service, principal: Admin) -> Queue:
    """Lifts a pause."""
    await service.control("resume", by=principal.name)
    return await _shown(service, principal)


async def _shown(service: VideoService, principal: Principal) -> Queue:
    backlog, stop = await service.backlog(), await service.standing_pause()
    paused = PauseAnswer.of(stop)
    if backlog is None:
        return Queue(dispatcher="away", paused=paused, models=[], renderers=[])
    sees_jobs = "admin" in principal.scopes
    return Queue(
        dispatcher="up",
        paused=paused,
        models=[
            ModelQueue(
                model=name,
                num_queued=model.num_queued,
                num_running=model.num_running,
                num_renderers=model.num_renderers,
                backlog_seconds=model.seconds,
                backlog_device_seconds=model.device_seconds,
                clips_per_minute=model.clips_per_minute,
                wait_s=model.wait_s,
            )
            for name, model in backlog.models.items()
        ],
        renderers=[
            RendererAnswer(
                name=renderer.name,
                model=renderer.model,
                state="busy" if renderer.is_busy else "idle",
                job_id=renderer.job_id if sees_jobs else None,
                step=renderer.step,
                num_steps=renderer.num_steps,
            )
            for renderer in backlog.renderers
        ],
    )
