"""/v1/videos/{id}/content: the files of finished videos, in ranges, by key, cookie or signed address."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request, Response
from starlette.concurrency import iterate_in_threadpool, run_in_threadpool
from starlette.responses import StreamingResponse

from deployments.api.access import Door, Reader, Service, VideoId
from deployments.api.answers import MediaLink
from deployments.api.auth import Doorkeeper
from deployments.api.documenting import KEY_OR_SIGNED, ok
from deployments.api.ranges import Span, is_unchanged, span_of
from deployments.api.routes import examples
from deployments.errors import ForbiddenError, MissingError
from deployments.media import Media, Variant, read_chunks
from deployments.principal import Principal
from deployments.service import VideoService
from farm.errors import NotFoundError

router = APIRouter(prefix="/v1/videos", tags=["content"])

_FILES: dict[str, dict[str, object]] = {"video/mp4": {}, "image/webp": {}}
_RESPONSES: dict[int | str, dict[str, object]] = {
    200: {"description": "The file.", "content": _FILES},
    206: {"description": "The part of it that was asked for.", "content": _FILES},
    304: {"description": "It is what the client has."},
}

Signature = Annotated[str | None, Query(max_length=128, description="Of a signed address.")]
Expires = Annotated[int | None, Query(ge=0, le=2**53, description="Until when a signed address holds.")]


@router.get(
    "/{video_id}/content",
    summary="Download",
    response_class=Response,
    responses=_RESPONSES,
    openapi_extra=KEY_OR_SIGNED,
)
async def download_video(
    video_id: VideoId,
    request: Request,
    service: Service,
    door: Door,
    variant: Variant = "video",
    expires: Expires = None,
    signature: Signature = None,
    download: Annotated[bool, Query(description="Have browsers save it instead of showing it.")] = False,
) -> Response:
    """The video, its thumbnail or its spritesheet. Takes Range, If-Range and If-None-Match."""
    principal = await _allowed(request, service, door, video_id, variant, expires=expires, signature=signature)
    media = await service.media(principal, video_id, variant)
    headers = {
        "ETag": media.etag,
        "Accept-Ranges": "bytes",
        # A browser asks each time whether it is still there, and is mostly told that it is what it has.
        "Cache-Control": "private, no-cache",
        "Content-Disposition": f'{"attachment" if download else "inline"}; filename="{media.filename}"',
    }
    if is_unchanged(request.headers.get("if-none-match"), media.etag):
        return Response(status_code=304, headers=headers)
    span = span_of(
        request.headers.get("range"),
        size_bytes=media.size_bytes,
        etag=media.etag,
        if_range=request.headers.get("if-range"),
    )
    return await _streamed(service, media, span, headers, is_head=request.method == "HEAD")


router.add_api_route("/{video_id}/content", download_video, methods=["HEAD"], include_in_schema=False)


@router.get(
    "/{video_id}/link", summary="An address that needs no key", responses={200: ok("For a while.", examples.LINK)}
)
async def link_video(
    video_id: VideoId, service: Service, door: Door, principal: Reader, variant: Variant = "video"
) -> MediaLink:
    """For players and pages that can't send a key. Whoever has the address has the file, until it expires."""
    await service.media(principal, video_id, variant)
    expires = int(time.time() + service.settings.link_s)
    signature = (await door.signer()).sign(video_id, variant, expires)
    query = urlencode({"variant": variant, "expires": expires, "signature": signature})
    return MediaLink(url=f"/v1/videos/{video_id}/content?{query}", expires_at=expires)


async def _allowed(
    request: Request,
    service: VideoService,
    door: Doorkeeper,
    video_id: str,
    variant: Variant,
    *,
    expires: int | None,
    signature: str | None,
) -> Principal:
    """Who reads: whoever asks, or for a signed address the project that the video is of."""
    if signature is None:
        principal = await door.principal(request)
        principal.require("read")
        return principal
    if (
        expires is None
        or time.time() > expires
        or not (await door.signer()).is_signed(signature, video_id, variant, expires)
    ):
        raise ForbiddenError(
            "this address is not signed, or not any more", code="bad_signature", advice="ask for a new link"
        )
    return await service.owner(video_id)


async def _streamed(
    service: VideoService, media: Media, span: Span | None, headers: dict[str, str], *, is_head: bool
) -> Response:
    part = span or Span(start=0, size=media.size_bytes)
    headers |= {"Content-Length": str(part.size)}
    if span is not None:
        headers["Content-Range"] = span.content_range(media.size_bytes)
    status = 200 if span is None else 206
    if is_head or not part.size:
        return Response(status_code=status, headers=headers, media_type=media.content_type)
    chunks = read_chunks(service.out, media.path, start=part.start, size=part.size)
    try:
        # Before anything is promised: a file that has just been deleted is a 404, not half an answer.
        first = await run_in_threadpool(next, chunks, b"")
    except NotFoundError as error:
        raise MissingError("the content is gone", code="content_gone") from error

    async def body() -> AsyncIterator[bytes]:
        yield first
        async for chunk in iterate_in_threadpool(chunks):
            yield chunk

    return StreamingResponse(body(), status_code=status, headers=headers, media_type=media.content_type)
