"""The app: operations, errors, guard, document and console put together."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from deployments.api.auth import Doorkeeper
from deployments.api.documenting import ERRORS, add_document
from deployments.api.error_answers import add_error_answers
from deployments.api.guard import LOOPBACK, Guard
from deployments.api.routes import content, events, health, keys, models, queue, runs, session, videos
from deployments.api.settings import ApiSettings
from deployments.console.serving import add_console
from deployments.service import VideoService

# Whatever host a request names.
ANY_HOST = "*"


def make_app(service: VideoService) -> FastAPI:
    """The API and the console of a service, which ends with the app."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        service.close()

    # FastAPI's own pages of documentation load scripts from elsewhere.
    app = FastAPI(
        title="wanfarm",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
        responses=ERRORS,
        generate_unique_id_function=lambda route: route.name,
    )
    app.state.service = service
    app.state.door = Doorkeeper(service.out, service.settings)
    app.state.open_streams = Counter()
    app.state.runs_seen = runs.RunsSeen()
    for router in (content, events, videos, models, queue, runs, keys, session, health):
        app.include_router(router.router)
    add_error_answers(app)
    add_document(app)
    add_console(app)
    app.add_middleware(Guard, hosts=_hosts(service.settings))
    return app


def _hosts(settings: ApiSettings) -> frozenset[str] | None:
    if ANY_HOST in settings.hosts or not (settings.hosts or settings.is_open):
        return None
    return frozenset(host.lower() for host in settings.hosts) or LOOPBACK
