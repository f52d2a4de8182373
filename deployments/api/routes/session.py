"""/v1/session: a key for a cookie that scripts can't read, so that the console need not keep the key."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from starlette.concurrency import run_in_threadpool

from deployments.api.access import Door
from deployments.api.answers import Session
from deployments.api.auth import COOKIE, Doorkeeper
from deployments.api.bodies import read_model
from deployments.api.documenting import PUBLIC, body, ok
from deployments.api.routes import examples
from deployments.api.schema import SessionCreate
from deployments.errors import UnauthenticatedError
from deployments.principal import SCOPES, Principal

router = APIRouter(prefix="/v1/session", tags=["session"])

_SIGNED_OUT = {"is_key_needed": True, "is_signed_in": False}


@router.get("", summary="Who am I?", responses={200: ok("Signed in or not.", examples.SESSION)}, openapi_extra=PUBLIC)
async def show_session(request: Request, door: Door) -> Session:
    """Always 200: whether a key is needed, and for whom the page speaks."""
    try:
        principal = await door.known(request)
    except UnauthenticatedError:
        principal = None
    return _shown(door, principal)


@router.post(
    "",
    summary="Sign in",
    responses={200: ok("The cookie is set.", examples.SESSION)},
    openapi_extra=PUBLIC | body(SessionCreate, {"key": "wf_example-of-a-key"}),
)
async def sign_in(request: Request, response: Response, door: Door) -> Session:
    """Trades a key for an HttpOnly cookie of this site, for some hours."""
    door.check_page(request)
    asked = await read_model(request, SessionCreate)
    if door.settings.is_open:
        return _shown(door, await door.principal(request))
    key = await door.key_of(asked.key)
    token, session = await run_in_threadpool(door.sessions.open, key.id)
    response.set_cookie(
        COOKIE,
        token,
        max_age=int(door.settings.session_s),
        path="/",
        httponly=True,
        samesite="strict",
        secure=door.settings.is_secure_cookie,
    )
    return Session(
        is_key_needed=True,
        is_signed_in=True,
        key_name=key.name,
        project=key.project,
        scopes=list(key.scopes),
        expires_at=int(session.expires_at),
    )


@router.delete(
    "",
    summary="Sign out",
    status_code=204,
    responses={204: {"description": "The cookie is gone."}},
    openapi_extra=PUBLIC,
)
async def sign_out(request: Request, door: Door) -> Response:
    """Ends the session of the cookie, for all who have it."""
    door.check_page(request)
    token = request.cookies.get(COOKIE)
    if token is not None:
        await run_in_threadpool(door.sessions.close, token)
        door.forget()
    response = Response(status_code=204)
    response.delete_cookie(COOKIE, path="/", httponly=True, samesite="strict", secure=door.settings.is_secure_cookie)
    return response


def _shown(door: Doorkeeper, principal: Principal | None) -> Session:
    if principal is None:
        return Session.model_validate(_SIGNED_OUT)
    return Session(
        is_key_needed=not door.settings.is_open,
        is_signed_in=True,
        key_name=principal.name,
        project=principal.project,
        scopes=[scope for scope in SCOPES if scope in principal.scopes],
    )
