"""What operations begin with: the service, who asks, and whether they may."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Header, Path, Request

from deployments.api.auth import Doorkeeper
from deployments.principal import Principal
from deployments.service import VideoService


def service_of(request: Request) -> VideoService:
    """The service behind the app."""
    service: VideoService = request.app.state.service
    return service


def door_of(request: Request) -> Doorkeeper:
    """Who tells who asks."""
    door: Doorkeeper = request.app.state.door
    return door


async def _reader(request: Request) -> Principal:
    principal = await door_of(request).principal(request)
    principal.require("read")
    return principal


async def _submitter(request: Request) -> Principal:
    principal = await door_of(request).principal(request)
    principal.require("submit")
    service_of(request).room.count_request(principal)
    return principal


async def _admin(request: Request) -> Principal:
    principal = await door_of(request).principal(request)
    principal.require("admin")
    return principal


# Plain functions would each be run on a thread.
async def _service(request: Request) -> VideoService:
    return service_of(request)


async def _door(request: Request) -> Doorkeeper:
    return door_of(request)


Service = Annotated[VideoService, Depends(_service)]
Door = Annotated[Doorkeeper, Depends(_door)]
Reader = Annotated[Principal, Depends(_reader)]
Submitter = Annotated[Principal, Depends(_submitter)]
Admin = Annotated[Principal, Depends(_admin)]

VideoId = Annotated[str, Path(description="A video's id.", max_length=100)]
RetryKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        description="Sent again with the same request, it stands for the same video; with another one it is refused.",
    ),
]
