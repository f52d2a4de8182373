"""The outermost layer: whom requests are addressed to, an id for each, headers for all, and faults that got through."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Collection

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deployments.api.error_answers import error_response, internal_error
from deployments.api.request_spans import Outcome, request_span
from deployments.errors import ForbiddenError
from farm.logs import fields, log_context

LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]"})
# What probes ask by whatever address they have.
PROBES = ("/healthz", "/readyz")

_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Frame-Options": "DENY",
}

# Of HTTP's codes: from here on the fault is ours.
SERVERS_FAULT = 500

log = logging.getLogger(__name__)


class Guard:
    """Wraps an app. Written against ASGI itself: streams pass through it chunk by chunk.

    Args:
        hosts: names that requests may be addressed to, None for any. Without it a page of anybody's whose name is
            made to lead to this machine (DNS rebinding) could speak with a service that asks for no key.
    """

    def __init__(self, app: ASGIApp, *, hosts: Collection[str] | None) -> None:
        self._app = app
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = f"req_{uuid.uuid4().hex}"
        with log_context(request_id=request_id), request_span(scope, request_id=request_id) as told:
            await self._guarded(scope, receive, send, request_id, told)

    async def _guarded(self, scope: Scope, receive: Receive, send: Send, request_id: str, told: Outcome) -> None:
        has_begun, request = False, {"method": scope["method"], "path": scope["path"]}
        is_read = not _has_body(Headers(scope=scope))

        async def guarded_receive() -> Message:
            nonlocal is_read
            message = await receive()
            is_read = is_read or not message.get("more_body", False)
            return message

        async def guarded_send(message: Message) -> None:
            nonlocal has_begun
            if message["type"] == "http.response.start":
                has_begun = True
                told["http.response.status_code"] = message["status"]
                level = logging.WARNING if message["status"] >= SERVERS_FAULT else logging.DEBUG
                log.log(level, "request answered", extra=fields(status=message["status"], **request))
                headers = MutableHeaders(scope=message)
                headers["x-request-id"] = request_id
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("Cache-Control", "no-store")
                if not is_read:
                    # Else the server would go on reading what nobody wants, for as long as it comes.
                    headers["Connection"] = "close"
            await send(message)

        try:
            if not self._is_addressed(scope):
                refusal = ForbiddenError(
                    "requests to this name are not taken",
                    code="unknown_host",
                    advice="use the service's own name, or add this one to the setting api.hosts",
                )
                await error_response(refusal)(scope, guarded_receive, guarded_send)
                return
            await self._app(scope, guarded_receive, guarded_send)
        except Exception:
            log.exception("request failed", extra=fields(**request))
            if has_begun:
                raise  # the connection breaks, so that nobody takes half an answer for a whole one
            await internal_error()(scope, guarded_receive, guarded_send)

    def _is_addressed(self, scope: Scope) -> bool:
        if self._hosts is None or scope["path"] in PROBES:
            return True
        host = Headers(scope=scope).get("host", "").lower()
        return host in self._hosts or without_port(host) in self._hosts


def _has_body(headers: Headers) -> bool:
    return "transfer-encoding" in headers or headers.get("content-length", "0") != "0"


def without_port(host: str) -> str:
    """A Host header's name alone, an IPv6 address in its brackets."""
    name, colon, port = host.rpartition(":")
    return name if colon and port.isdigit() and (not name.count(":") or name.endswith("]")) else host
