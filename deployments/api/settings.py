"""Settings of the API: what it takes, from whom, and how much. A part of the application's configuration."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

_STRICT = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class LimitSettings(BaseModel):
    """How much is taken on. A key may have limits of its own, which then count instead.

    Args:
        requests_per_minute: changes (submissions, cancellations ...) by one key at one API replica; as many in a burst.
        max_open_jobs: of one key, queued or in work.
        max_key_device_seconds: estimated work of one key's queued jobs.
        max_queue_device_seconds: of all that is queued or in work.
        max_event_streams: at once, of one key at one API replica.
    """

    model_config = _STRICT

    requests_per_minute: int = Field(default=12_000, gt=0)
    max_open_jobs: int = Field(default=10_000, gt=0)
    max_key_device_seconds: float = Field(default=5 * 24 * 3600.0, gt=0)
    max_queue_device_seconds: float = Field(default=7 * 24 * 3600.0, gt=0)
    max_event_streams: int = Field(default=64, gt=0)


class ApiSettings(BaseModel):
    """The door.

    Args:
        is_open: no keys are asked for: everyone is admin of one project. Only for a machine of one's own.
        hosts: names that requests may be addressed to ("farm.example.org", with :port where it is not the usual one);
            none given: any while keys are asked for, those of this machine alone when not.
        origins: pages beside the console whose changes with a cookie are taken ("https://farm.example.org").
        is_secure_cookie: the cookie travels over HTTPS alone; set it wherever there is HTTPS.
        session_s: how long a sign-in lasts.
        link_s: how long a signed media link lasts.
        max_body_bytes: of a request, uploads included; base64 takes a third more than what it holds.
        key_cache_s: how long a key is believed without asking the storage again.
        keep_alive_s: silence after which a stream of events says that it is still there.
        ready_s: how long the storage may take to answer before this replica is not ready.
    """

    model_config = _STRICT

    is_open: bool = False
    hosts: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    is_secure_cookie: bool = False
    session_s: float = Field(default=12 * 3600.0, gt=0)
    link_s: float = Field(default=3600.0, gt=0)
    max_body_bytes: int = Field(default=24 * 2**20, gt=0)
    key_cache_s: float = Field(default=30.0, ge=0)
    keep_alive_s: float = Field(default=15.0, gt=0)
    ready_s: float = Field(default=5.0, gt=0)
    limits: LimitSettings = LimitSettings()
