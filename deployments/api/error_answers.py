"""Every error in one shape, whoever raised it: ours, the farm's, FastAPI's or Starlette's."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.routing import Match

from deployments.errors import AwayError, Fault, InvalidError, RangeError, ServiceError
from farm.errors import StorageUnavailableError, TransientError

# As OpenAI's clients know them.
_TYPES = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error"}


def error_response(error: ServiceError) -> JSONResponse:
    """The answer to a request that was refused."""
    headers = {}
    if error.retry_after_s is not None:
        # Whole seconds, never too early.
        headers["Retry-After"] = str(max(1, math.ceil(error.retry_after_s)))
    if error.status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="wanfarm"'
    if error.status == 409:
        headers["x-should-retry"] = "false"  # OpenAI's client takes any 409 for a lock that is soon gone
    if isinstance(error, RangeError):
        headers["Content-Range"] = f"bytes */{error.size_bytes}"
    return _response(error.status, error.faults, headers=headers, is_form=isinstance(error, InvalidError))


def internal_error() -> JSONResponse:
    """What is said of a fault of ours: nothing; the log has it."""
    fault = Fault(
        message="something went wrong here", code="internal_error", advice="try again; the log has this request's id"
    )
    return _response(500, (fault,))


def add_error_answers(app: FastAPI) -> None:
    """Give the app one shape for all errors."""

    @app.exception_handler(ServiceError)
    async def refused(_: Request, error: ServiceError) -> JSONResponse:
        return error_response(error)

    @app.exception_handler(StorageUnavailableError)
    async def away(_: Request, __: StorageUnavailableError) -> JSONResponse:
        return error_response(AwayError("the storage cannot be reached", retry_after_s=5.0))

    @app.exception_handler(TransientError)
    async def passing(_: Request, __: TransientError) -> JSONResponse:
        # A request met another that took away what it stands on.
        busy = AwayError("not now", code="try_again", advice="send the request again", retry_after_s=1.0)
        return error_response(busy)

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        faults = [
            Fault(message=str(detail["msg"]), field=".".join(str(part) for part in detail["loc"][1:]) or None)
            for detail in error.errors()
        ]
        return error_response(InvalidError(faults))

    @app.exception_handler(HTTPException)
    async def plain(request: Request, error: HTTPException) -> JSONResponse:
        code = HTTPStatus(error.status_code).name.lower()
        fault = Fault(message=_PHRASES.get(error.status_code, str(error.detail)), code=code)
        headers = dict(error.headers or {})
        if error.status_code == 405:
            headers["Allow"] = ", ".join(_methods_at(request))
        return _response(error.status_code, (fault,), headers=headers)


def _methods_at(request: Request) -> list[str]:
    """All that an address takes: the router names those of the first operation there alone."""
    found = (route for route in request.app.routes if route.matches(request.scope)[0] is not Match.NONE)
    return sorted({method for route in found for method in getattr(route, "methods", None) or ()})


_PHRASES = {404: "there is nothing at this address", 405: "this address does not take that method"}


def _response(
    status: int, faults: Sequence[Fault], *, headers: Mapping[str, str] | None = None, is_form: bool = False
) -> JSONResponse:
    first = faults[0]
    kind = _TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
    body: dict[str, Any] = {
        "code": first.code,
        "message": _summed_up(faults),
        "type": kind,
        "field": first.field,
        "param": first.field,
        "advice": first.advice,
    }
    if is_form:
        body["errors"] = [
            {"field": fault.field, "code": fault.code, "message": fault.message, "advice": fault.advice}
            for fault in faults
        ]
    return JSONResponse({"error": body}, status_code=status, headers=dict(headers or {}))


def _summed_up(faults: Sequence[Fault]) -> str:
    """One line that says all: what OpenAI's client shows."""
    return "; ".join(f"{fault.field}: {fault.message}" if fault.field else fault.message for fault in faults)
