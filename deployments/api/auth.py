"""Who a request comes from: a key in its header, a session in its cookie, or anybody where no keys are asked for.

What a key may do is read from the storage and believed for half a minute, so a revoked key is out within that.
A cookie goes with a request whatever page sent it; so changes that come with one must come from this service's own
pages (Origin). Where no keys are asked for that holds for every change that a browser sends.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar
from urllib.parse import urlsplit

from fastapi import Request
from starlette.concurrency import run_in_threadpool

from deployments.api.sessions import Sessions, Signer, signer_of
from deployments.api.settings import ApiSettings
from deployments.errors import ForbiddenError, UnauthenticatedError
from deployments.principal import EVERYBODY, SCOPES, OwnLimits, Principal
from farm.keys import Key, KeyStore
from farm.storage import Storage

COOKIE = "wanfarm_session"
MAX_KEY_CHARS = 200
CHANGES = frozenset({"POST", "PUT", "PATCH", "DELETE"})

# A key that is not there may be made any moment.
_UNKNOWN_S = 2.0
_MAX_REMEMBERED = 4096

T = TypeVar("T")


class Doorkeeper:
    """Tells who asks. For one event loop; the storage is asked on threads."""

    def __init__(self, out: Storage, settings: ApiSettings, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.settings = settings
        self.keys = KeyStore(out)
        self.sessions = Sessions(out, session_s=settings.session_s)
        self._out = out
        self._by_secret: _Remembered[Key | None] = _Remembered(clock)
        self._by_session: _Remembered[Key | None] = _Remembered(clock)
        self._signer: Signer | None = None

    async def principal(self, request: Request) -> Principal:
        """Who asks. UnauthenticatedError where that is nobody, ForbiddenError where another's page asks."""
        found = await self.known(request)
        if found is None:
            raise UnauthenticatedError(
                "no API key came with this request",
                code="missing_api_key",
                advice="send Authorization: Bearer KEY; wanfarm keys create makes one",
            )
        return found

    async def known(self, request: Request) -> Principal | None:
        """Who asks, None for a request with neither key nor session. A wrong key is refused all the same."""
        if self.settings.is_open:
            self._check_origin(request, is_needed=False)
            return EVERYBODY
        secret = _bearer(request)
        if secret is not None:
            return _principal_of(await self.key_of(secret))
        token = request.cookies.get(COOKIE)
        if token is None:
            return None
        if request.method in CHANGES:
            self._check_origin(request, is_needed=True)
        key = await self._key_of_session(token)
        return None if key is None else _principal_of(key)

    async def key_of(self, secret: str) -> Key:
        """The key of that text. UnauthenticatedError where there is none, or it was revoked."""
        key = self._by_secret.get(secret)
        if key is _ABSENT:
            key = await run_in_threadpool(self.keys.find, secret)
            self._by_secret.put(secret, key, for_s=_UNKNOWN_S if key is None else self.settings.key_cache_s)
        if not isinstance(key, Key):
            raise UnauthenticatedError("this API key is not known, or was revoked", advice="use another key")
        return key

    def forget(self) -> None:
        """Believe nothing that was read before: a key was revoked here."""
        self._by_secret.clear()
        self._by_session.clear()

    async def signer(self) -> Signer:
        """The output's own."""
        if self._signer is None:
            self._signer = await run_in_threadpool(signer_of, self._out)
        return self._signer

    async def _key_of_session(self, token: str) -> Key | None:
        key = self._by_session.get(token)
        if key is _ABSENT:
            key = await run_in_threadpool(self._read_session, token)
            self._by_session.put(token, key, for_s=_UNKNOWN_S if key is None else self.settings.key_cache_s)
        return key if isinstance(key, Key) else None

    def _read_session(self, token: str) -> Key | None:
        session = self.sessions.find(token)
        return None if session is None else self.keys.get(session.key_id)

    def check_page(self, request: Request) -> None:
        """Refuse what another's page sends; what no page sends (no Origin) is let through."""
        self._check_origin(request, is_needed=False)

    def _check_origin(self, request: Request, *, is_needed: bool) -> None:
        origin = request.headers.get("origin")
        if request.method not in CHANGES or (origin is None and not is_needed):
            return
        if origin is None or not self._is_ours(origin, request):
            raise ForbiddenError(
                "changes are taken from this service's own pages only",
                code="origin_mismatch",
                advice="send a key instead of a cookie, or add the page to the setting api.origins",
            )

    def _is_ours(self, origin: str, request: Request) -> bool:
        # By host alone: behind a proxy that ends TLS the scheme is another here than in the browser.
        host = request.headers.get("host", "").lower()
        return origin in self.settings.origins or (bool(host) and urlsplit(origin.lower()).netloc == host)


class _Absent:
    """Nothing is remembered: not even that there is nothing."""


_ABSENT = _Absent()


class _Remembered(Generic[T]):
    """What was read lately, by a text that stays in memory only."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._kept: OrderedDict[str, tuple[float, T]] = OrderedDict()

    def get(self, text: str) -> T | _Absent:
        until_s, value = self._kept.get(text, (0.0, _ABSENT))
        return value if self._clock() < until_s else _ABSENT

    def put(self, text: str, value: T, *, for_s: float) -> None:
        self._kept[text] = (self._clock() + for_s, value)
        self._kept.move_to_end(text)
        if len(self._kept) > _MAX_REMEMBERED:
            self._kept.popitem(last=False)

    def clear(self) -> None:
        self._kept.clear()


def _bearer(request: Request) -> str | None:
    header = request.headers.get("authorization")
    if header is None:
        return None
    scheme, _, secret = header.partition(" ")
    secret = secret.strip()
    if scheme.lower() != "bearer" or not 0 < len(secret) <= MAX_KEY_CHARS:
        raise UnauthenticatedError(
            "the Authorization header holds no bearer key", advice="send Authorization: Bearer KEY"
        )
    return secret


def _principal_of(key: Key) -> Principal:
    limits = key.limits
    return Principal(
        project=key.project,
        name=key.name,
        key_id=key.id,
        scopes=frozenset(scope for scope in SCOPES if scope in key.scopes),
        limits=OwnLimits(
            max_open_jobs=limits.max_open_jobs,
            max_queued_device_seconds=limits.max_queued_device_seconds,
            requests_per_minute=limits.requests_per_minute,
        ),
        weight=limits.weight,
    )
