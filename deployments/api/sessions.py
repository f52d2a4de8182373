"""What browsers carry instead of a key: a session's token in a cookie, and signed addresses of media.

OUT/sessions/<sha256 of token>.json names a key and an end; the token itself is stored nowhere, any replica can read it,
and signing out removes it. OUT/sessions/signing.json is the secret that media addresses are signed with, made once.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from contextlib import suppress

from pydantic import BaseModel, ConfigDict, ValidationError

from farm.errors import AlreadyExistsError, NotFoundError
from farm.storage import Storage

SESSIONS = "sessions"
_SIGNING = f"{SESSIONS}/signing.json"


class StoredSession(BaseModel):
    """A sign-in. Times by the storage's clock, in seconds since the epoch."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    key_id: str
    created_at: float
    expires_at: float


class Sessions:
    """Sign-ins of one output. Blocking: call it from a thread."""

    def __init__(self, out: Storage, *, session_s: float) -> None:
        self._out = out
        self._session_s = session_s

    def open(self, key_id: str) -> tuple[str, StoredSession]:
        """A new sign-in: its token, for the cookie, and what is kept of it."""
        self._sweep()
        token, now_s = secrets.token_urlsafe(32), self._out.now()
        session = StoredSession(key_id=key_id, created_at=now_s, expires_at=now_s + self._session_s)
        self._out.create(_path(token), session.model_dump_json().encode())
        return token, session

    def find(self, token: str) -> StoredSession | None:
        """The sign-in of a token, None where there is none (any more)."""
        with suppress(NotFoundError, ValidationError):
            session = StoredSession.model_validate_json(self._out.read(_path(token)))
            if session.expires_at > self._out.now():
                return session
        return None

    def close(self, token: str) -> None:
        """Sign out."""
        self._out.delete(_path(token))

    def _sweep(self) -> None:
        """Those that have run out go when the next one comes."""
        now_s = self._out.now()
        for entry in list(self._out.list(SESSIONS)):
            if entry.path != _SIGNING and entry.mtime_s + self._session_s < now_s:
                self._out.delete(entry.path)


class Signer:
    """Signs addresses that are to work without a key, for a while."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def sign(self, *parts: str | int) -> str:
        """A signature over all of the parts."""
        message = json.dumps(parts).encode()
        return hmac.new(self._secret, message, hashlib.sha256).hexdigest()

    def is_signed(self, signature: str, *parts: str | int) -> bool:
        return hmac.compare_digest(signature.encode(errors="replace"), self.sign(*parts).encode())


def signer_of(out: Storage) -> Signer:
    """The output's own: all replicas sign alike, and addresses outlive a restart."""
    while True:
        with suppress(NotFoundError):
            return Signer(bytes.fromhex(json.loads(out.read(_SIGNING))["secret"]))
        with suppress(AlreadyExistsError):  # another replica was quicker; its secret counts
            out.create(_SIGNING, json.dumps({"secret": secrets.token_hex(32)}).encode())


def _path(token: str) -> str:
    return f"{SESSIONS}/{hashlib.sha256(token.encode(errors='replace')).hexdigest()}.json"
