"""/v1/videos: ask for clips, follow them, make others of them, be rid of them."""

from __future__ import annotations

from typing import Annotated, get_args

from fastapi import APIRouter, Query, Request, Response

from deployments.api.access import Reader, RetryKey, Service, Submitter, VideoId
from deployments.api.answers import Video, VideoDeleted, VideoList
from deployments.api.asked import Asked, read_asked
from deployments.api.bodies import Body, fingerprint, read_body
from deployments.api.documenting import body, links, ok
from deployments.api.routes import examples
from deployments.api.schema import VideoCreate, VideoExtend, VideoExtension, VideoRemix
from deployments.api.showing import poll_after_ms, video_of
from deployments.errors import Fault, InvalidError, MissingError
from deployments.principal import Principal
from deployments.service import Snapshot, VideoService
from deployments.submissions import retry_key_of
from farm.queue.idempotency import IdempotencyKey
from farm.queue.job import Status
from farm.queue.listing import Order

router = APIRouter(prefix="/v1/videos", tags=["videos"])

# What is done with a video once it is asked for.
FOLLOWING = (
    "retrieve_video", "download_video", "link_video", "follow_video", "preview_video", "cancel_video", "retry_video",
    "remix_video", "extend_video", "delete_video",
)  # fmt: skip
REMIX_FIELDS = ("prompt",)
EXTEND_FIELDS = ("prompt", "seconds", "num_frames", "seed")
MAX_PAGE = 100
_STATUS = "(queued|in_progress|completed|failed|cancelled)"
STATUSES = f"^{_STATUS}(,{_STATUS}){{0,4}}$"


@router.post(
    "",
    summary="Ask for a video",
    responses={200: {**ok("It is queued, or done already (from_ledger).", examples.VIDEO), **links(*FOLLOWING)}},
    openapi_extra=body(VideoCreate, examples.CREATE, is_form_too=True),
)
async def create_video(
    request: Request, response: Response, service: Service, principal: Submitter, key: RetryKey = None
) -> Video:
    """A clip from a prompt, and from a picture if one is given. All faults of the request are named at once."""
    asked_body = await _read(request, service)
    asked = read_asked(asked_body)
    snapshot = await service.submit(principal, asked, retry_key=_retry_key(key, principal, asked_body, "create"))
    return _shown(snapshot, service, response)


@router.get("", summary="List videos", responses={200: ok("A page, the newest first.", examples.VIDEO_LIST)})
async def list_videos(
    service: Service,
    principal: Reader,
    after: Annotated[str | None, Query(max_length=100, description="The last video of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 20,
    order: Annotated[Order, Query()] = "desc",
    status: Annotated[str | None, Query(pattern=STATUSES, description="Only these: queued,in_progress ...")] = None,
) -> VideoList:
    """The project's videos by their creation."""
    page = await service.list(principal, after=after, limit=limit, order=order, statuses=_statuses(status))
    videos = [video_of(snapshot, service) for snapshot in page.snapshots]
    return VideoList(
        data=videos,
        first_id=videos[0].id if videos else None,
        last_id=page.next_after or (videos[-1].id if videos else None),
        has_more=page.next_after is not None,
    )


@router.post(
    "/extensions",
    summary="Go on from a video's end (in OpenAI's words)",
    responses={200: ok("The new video.", examples.VIDEO)},
    openapi_extra=body(VideoExtension, examples.EXTENSION),
)
async def create_extension(
    request: Request, response: Response, service: Service, principal: Submitter, key: RetryKey = None
) -> Video:
    """As /v1/videos/{video_id}/extend; the video is named in the body."""
    asked_body = await _read(request, service)
    video = asked_body.values.pop("video", None)
    video_id = video.get("id") if isinstance(video, dict) else None
    if not isinstance(video_id, str):
        fault = Fault(field="video", message="expected {id: of one of your videos}", advice="uploads are not extended")
        raise InvalidError([fault, *read_asked(asked_body, fields=EXTEND_FIELDS).faults])
    return await _extend(video_id, asked_body, response, service, principal, key)


@router.get("/{video_id}", summary="One video", responses={200: ok("How far it is.", examples.VIDEO)})
async def retrieve_video(video_id: VideoId, response: Response, service: Service, principal: Reader) -> Video:
    """A video, and how far it is. `openai-poll-after-ms` says when to look again."""
    return _shown(await service.get(principal, video_id), service, response)


@router.delete("/{video_id}", summary="Delete a video", responses={200: ok("It is gone.", examples.DELETED)})
async def delete_video(video_id: VideoId, service: Service, principal: Submitter) -> VideoDeleted:
    """Cancels it if need be, and leaves nothing of it: not the clip either, unless another video or run has it."""
    await service.delete(principal, video_id)
    return VideoDeleted(id=video_id)


@router.post("/{video_id}/cancel", summary="Cancel a video", responses={200: ok("As it is now.", examples.VIDEO)})
async def cancel_video(video_id: VideoId, response: Response, service: Service, principal: Submitter) -> Video:
    """It ends at its next step and stays retrievable. A video that has ended stays as it is."""
    return _shown(await service.cancel(principal, video_id), service, response)


@router.post(
    "/{video_id}/retry", summary="Try a failed video again", responses={200: ok("A new video.", examples.VIDEO)}
)
async def retry_video(
    video_id: VideoId, response: Response, service: Service, principal: Submitter, key: RetryKey = None
) -> Video:
    """The same request once more, as a new video, for one that failed or was cancelled."""
    retry_key = _retry_key(key, principal, Body(values={}, is_form=False), "retry", video_id)
    return _shown(await service.retry(principal, video_id, retry_key=retry_key), service, response)


@router.post(
    "/{video_id}/remix",
    summary="Make the same with other words",
    responses={200: ok("The new video.", examples.VIDEO)},
    openapi_extra=body(VideoRemix, examples.REMIX, is_form_too=False),
)
async def remix_video(
    video_id: VideoId,
    request: Request,
    response: Response,
    service: Service,
    principal: Submitter,
    key: RetryKey = None,
) -> Video:
    """Settings, seed and size of a video with a new prompt."""
    asked_body = await _read(request, service)
    asked = _checked(read_asked(asked_body, fields=REMIX_FIELDS))
    retry_key = _retry_key(key, principal, asked_body, "remix", video_id)
    snapshot = await service.remix(principal, video_id, asked.row.prompt, retry_key=retry_key)
    return _shown(snapshot, service, response)


@router.post(
    "/{video_id}/extend",
    summary="Go on from a video's end",
    responses={200: ok("The new video.", examples.VIDEO)},
    openapi_extra=body(VideoExtend, examples.EXTEND),
)
async def extend_video(
    video_id: VideoId,
    request: Request,
    response: Response,
    service: Service,
    principal: Submitter,
    key: RetryKey = None,
) -> Video:
    """A clip that begins with the last frame of a finished one, where the model takes a picture."""
    asked_body = await _read(request, service)
    return await _extend(video_id, asked_body, response, service, principal, key)


@router.get(
    "/{video_id}/preview",
    summary="What it will be",
    response_class=Response,
    responses={200: {"description": "The newest picture.", "content": {"image/webp": {}}}},
)
async def preview_video(
    video_id: VideoId,
    service: Service,
    principal: Reader,
    step: Annotated[int | None, Query(ge=0, description="The picture of this step may be kept by caches.")] = None,
) -> Response:
    """A picture of a video in work, as far as it is. 404 where there is none (yet)."""
    progress = (await service.get(principal, video_id)).progress
    if progress is None or progress.preview is None:
        raise MissingError(f"there is no preview of {video_id} now", code="no_preview", advice="wait for preview_step")
    is_that_one = step is not None and step == progress.preview_step
    headers = {"X-Preview-Step": str(progress.preview_step)}
    headers["Cache-Control"] = "private, max-age=600" if is_that_one else "no-store"
    return Response(progress.preview, media_type="image/webp", headers=headers)


async def _extend(
    video_id: str, asked_body: Body, response: Response, service: VideoService, principal: Principal, key: str | None
) -> Video:
    asked = _checked(read_asked(asked_body, fields=EXTEND_FIELDS))
    retry_key = _retry_key(key, principal, asked_body, "extend", video_id)
    return _shown(await service.extend(principal, video_id, asked, retry_key=retry_key), service, response)


async def _read(request: Request, service: VideoService) -> Body:
    return await read_body(request, max_bytes=service.settings.max_body_bytes)


def _checked(asked: Asked) -> Asked:
    if asked.faults:
        raise InvalidError(asked.faults)
    return asked


def _retry_key(key: str | None, principal: Principal, asked: Body, *about: str) -> IdempotencyKey | None:
    return None if key is None else retry_key_of(key, principal, request=fingerprint(asked, *about))


def _shown(snapshot: Snapshot, service: VideoService, response: Response) -> Video:
    wait_ms = poll_after_ms(snapshot)
    if wait_ms is not None:
        response.headers["openai-poll-after-ms"] = str(wait_ms)
    return video_of(snapshot, service)


def _statuses(text: str | None) -> set[Status] | None:
    if text is None:
        return None
    return {status for status in get_args(Status) if status in text.split(",")}
