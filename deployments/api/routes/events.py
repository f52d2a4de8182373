"""/v1/videos/{id}/events: a video's way to its end, as server-sent events."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator

from fastapi import APIRouter, Request, Response
from starlette.responses import StreamingResponse

from deployments.api.access import Reader, Service, VideoId
from deployments.api.showing import video_of
from deployments.errors import LimitedError
from deployments.principal import Principal
from deployments.service import Snapshot, VideoService
from deployments.watching import watch

router = APIRouter(prefix="/v1/videos", tags=["videos"])

# Of each event of the stream.
_EVENT = {
    "type": "object",
    "required": ["event", "data"],
    "properties": {
        "event": {"enum": ["video", "preview"]},
        "data": {"type": "string", "contentMediaType": "application/json"},
    },
}
_EXAMPLE = {"event": "video", "data": '{"id": "video_01kaxq3v5zk7g2m9c4d8e6f0ah", "status": "in_progress", "step": 9}'}


@router.get(
    "/{video_id}/events",
    summary="Follow a video",
    response_class=Response,
    responses={
        200: {
            "description": "`video` events hold the whole video, `preview` events the step of a new picture.",
            "content": {"text/event-stream": {"schema": _EVENT, "example": _EXAMPLE}},
        }
    },
)
async def follow_video(video_id: VideoId, request: Request, service: Service, principal: Reader) -> Response:
    """The video at once and after each change; the stream closes behind its end."""
    open_streams: Counter[str] = request.app.state.open_streams
    snapshots = watch(service, principal, video_id)
    _enter(open_streams, principal, most=service.settings.limits.max_event_streams)
    try:
        # Before anything is promised: a video that is not there is a 404.
        first = await anext(snapshots)
    except BaseException:
        _leave(open_streams, principal)
        raise
    body = _events(service, first, snapshots, open_streams, principal)
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(body, media_type="text/event-stream", headers=headers)


async def _events(
    service: VideoService,
    first: Snapshot,
    snapshots: AsyncIterator[Snapshot],
    open_streams: Counter[str],
    principal: Principal,
) -> AsyncIterator[str]:
    """The stream's text; silence is broken by comments, so that nobody between here and there hangs up."""
    preview_step: int | None = None
    snapshot: Snapshot | None = first
    pending: asyncio.Task[Snapshot] | None = None
    try:
        while snapshot is not None:
            yield _event("video", video_of(snapshot, service).model_dump_json())
            found = None if snapshot.progress is None else snapshot.progress.preview_step
            if found is not None and found != preview_step:
                preview_step = found
                yield _event("preview", json.dumps({"step": found}))
            pending = asyncio.ensure_future(anext(snapshots))
            while not (await asyncio.wait({pending}, timeout=service.settings.keep_alive_s))[0]:
                yield ": still here\n\n"
            try:
                snapshot = pending.result()
            except StopAsyncIteration:
                snapshot = None
    finally:
        _leave(open_streams, principal)
        if pending is not None and not pending.done():
            pending.cancel()


def _event(kind: str, data: str) -> str:
    return f"event: {kind}\ndata: {data}\n\n"


def _enter(open_streams: Counter[str], principal: Principal, *, most: int) -> None:
    if open_streams[_key_of(principal)] >= most:
        raise LimitedError(
            f"this key follows {most} videos at once",
            code="too_many_streams",
            advice="close some, or poll /v1/videos",
            retry_after_s=10.0,
        )
    open_streams[_key_of(principal)] += 1


def _leave(open_streams: Counter[str], principal: Principal) -> None:
    open_streams[_key_of(principal)] -= 1


def _key_of(principal: Principal) -> str:
    return principal.key_id or principal.project
