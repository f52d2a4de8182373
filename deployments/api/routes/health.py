"""/healthz and /readyz: whether this replica lives, and whether it can do its work."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, Response
from starlette.concurrency import run_in_threadpool

from deployments.api.access import Service
from deployments.api.answers import Health
from deployments.api.documenting import PUBLIC, ok
from farm.errors import StorageError

router = APIRouter(tags=["health"])


@router.get("/healthz", summary="Is it alive?", responses={200: ok("It is.", {"status": "ok"})}, openapi_extra=PUBLIC)
async def healthz() -> Health:
    """Asks nothing of anybody."""
    return Health(status="ok")


@router.get(
    "/readyz",
    summary="Can it work?",
    responses={
        200: ok("The storage answers.", {"status": "ok"}),
        503: {"model": Health, "description": "The storage does not answer."},
    },
    openapi_extra=PUBLIC,
)
async def readyz(response: Response, service: Service) -> Health:
    """Whether the storage answers in time. The dispatcher need not: submitting and downloading go on without it."""
    try:
        async with asyncio.timeout(service.settings.ready_s):
            await run_in_threadpool(service.out.now)
    except (StorageError, TimeoutError):
        response.status_code = 503
        return Health(status="unavailable")
    return Health(status="ok")
