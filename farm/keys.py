"""API keys: OUT/keys/<sha256 of the key>.json says what the key may do; the key itself is written nowhere.

A key is 32 random bytes, so its plain hash is as good as a slow one: there is nothing to guess. A key is found under
the name that its hash gives, which tells who measures times no more than whether the hash of what they sent is there.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

from farm.errors import NotFoundError, UsageError
from farm.layout import KEYS, key_path
from farm.ledger.parallel import map_in_order
from farm.queue.ids import PROJECT_PATTERN
from farm.storage.base import Storage

PREFIX = "wf_"

Scope = Literal["submit", "read", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)

_NUM_BYTES = 32
# More than any farm takes; counts become floats.
MAX_COUNT = 10**9
_SECRET = re.compile(rf"{PREFIX}[A-Za-z0-9_-]{{43}}")
_KEY_ID = re.compile(r"key_([0-9a-f]{16})")
_STORED = ConfigDict(frozen=True, extra="allow", allow_inf_nan=False)


class KeyLimits(BaseModel):
    """How much work may come with a key. None: as the service has it for everybody.

    Args:
        max_open_jobs: that are not at their end.
        max_queued_device_seconds: as estimated, of jobs that have not begun.
        weight: its share of the devices beside other keys'; 2 gets twice as much as 1.
    """

    model_config = _STORED

    max_open_jobs: int | None = Field(default=None, gt=0, le=MAX_COUNT)
    requests_per_minute: int | None = Field(default=None, gt=0, le=MAX_COUNT)
    max_queued_device_seconds: float | None = Field(default=None, gt=0)
    weight: float = Field(default=1.0, gt=0, le=1000)


class Key(BaseModel):
    """What is known of a key: all but the key.

    Args:
        id: how people and jobs name it; the beginning of its hash.
        name: for people.
        project: whose jobs it sees and makes.
        created_at, expires_at, revoked_at: seconds since the epoch.
    """

    model_config = _STORED

    id: str
    name: str = Field(min_length=1, max_length=100)
    project: str = Field(pattern=PROJECT_PATTERN)
    scopes: tuple[Scope, ...] = Field(min_length=1)
    limits: KeyLimits = KeyLimits()
    created_at: float
    expires_at: float | None = None
    revoked_at: float | None = None

    def is_usable(self, *, now_s: float) -> bool:
        """Whether it opens anything now."""
        return self.revoked_at is None and (self.expires_at is None or now_s < self.expires_at)


class KeyStore:
    """The keys of an output. `clock` gives seconds since the epoch, for keys that expire."""

    def __init__(self, storage: Storage, *, clock: Callable[[], float] = time.time) -> None:
        self._storage = storage
        self._clock = clock

    def create(
        self,
        *,
        name: str,
        project: str,
        scopes: Iterable[Scope] = ("submit", "read"),
        limits: KeyLimits | Mapping[str, object] | None = None,
        expires_at: float | None = None,
    ) -> tuple[Key, str]:
        """A new key, and its text, which nobody can tell again.

        Raises:
            UsageError: no name, no project's name, no scope, or a limit that is none.
        """
        secret = PREFIX + secrets.token_urlsafe(_NUM_BYTES)
        digest = _digest(secret)
        values = {"id": f"key_{digest[:16]}", "name": name, "project": project, "scopes": tuple(dict.fromkeys(scopes))}
        try:
            key = Key.model_validate(
                {**values, "limits": limits or KeyLimits(), "created_at": self._clock(), "expires_at": expires_at}
            )
        except ValueError as error:
            raise UsageError(f"no key can be made so: {_faults(error)}") from None
        self._storage.create(key_path(digest), _to_json(key))
        return key, secret

    def find(self, secret: str) -> Key | None:
        """The key of that text, if it is one that opens anything now. One read."""
        if _SECRET.fullmatch(secret) is None:
            return None
        return self._usable(_digest(secret))

    def get(self, key_id: str) -> Key | None:
        """The key of that id, if it is one that opens anything now. One listing and one read."""
        digest = self._digest_of(key_id)
        return None if digest is None else self._usable(digest)

    def list(self) -> Sequence[Key]:
        """All keys, the oldest first; also those that open nothing any more."""
        found = map_in_order(self._read, self._digests())
        return sorted((key for key in found if key is not None), key=lambda key: (key.created_at, key.id))

    def revoke(self, key_id: str) -> Key:
        """Make a key useless for good; what came with it goes on. UsageError where there is no such key."""
        digest = self._digest_of(key_id)
        key = None if digest is None else self._read(digest)
        if digest is None or key is None:
            raise UsageError(f"there is no key {key_id[:40]!r}")
        if key.revoked_at is None:
            key = key.model_copy(update={"revoked_at": self._clock()})
            self._storage.replace(key_path(digest), _to_json(key))
        return key

    def _usable(self, digest: str) -> Key | None:
        key = self._read(digest)
        # The file's name is the hash, and the id was taken from it: a file that was moved there opens nothing.
        is_its_own = key is not None and hmac.compare_digest(key.id, f"key_{digest[:16]}")
        return key if key is not None and is_its_own and key.is_usable(now_s=self._clock()) else None

    def _read(self, digest: str) -> Key | None:
        with suppress(NotFoundError):
            return Key.model_validate_json(self._storage.read(key_path(digest)))
        return None

    def _digest_of(self, key_id: str) -> str | None:
        named = _KEY_ID.fullmatch(key_id)
        if named is None:
            return None
        return next((digest for digest in self._digests() if digest.startswith(named.group(1))), None)

    def _digests(self) -> Iterable[str]:
        names = (path.rsplit("/", 1)[-1].removesuffix(".json") for path in self._storage.names(KEYS))
        return (name for name in names if re.fullmatch("[0-9a-f]{64}", name))


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _to_json(key: Key) -> bytes:
    return (key.model_dump_json(indent=1) + "\n").encode()


def _faults(error: ValueError) -> str:
    """pydantic's own text shows what it was given."""
    details = error.errors(include_url=False, include_input=False) if hasattr(error, "errors") else ()
    return "; ".join(f"{'.'.join(str(part) for part in detail['loc'])}: {detail['msg']}" for detail in details)
