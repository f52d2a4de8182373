"""`wanfarm keys`: the API keys of an output."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import Any

from farm.keys import Key, KeyStore
from farm.settings import Settings
from farm.storage import open_storage
from jobs.calls import KeyAsked
from jobs.printing import aligned, say, say_json

DAY_S = 24 * 3600.0


def create_key(out_uri: str, asked: KeyAsked, *, as_json: bool) -> int:
    """0, with the key alone on stdout, so that a script can take it from there."""
    limits = {
        "max_open_jobs": asked.max_open_jobs,
        "requests_per_minute": asked.requests_per_minute,
        "max_queued_device_seconds": asked.max_device_seconds,
        "weight": asked.weight,
    }
    expires_at = None if asked.expires_days is None else datetime.now(UTC).timestamp() + asked.expires_days * DAY_S
    key, secret = _keys(out_uri).create(
        name=asked.name, project=asked.project, scopes=asked.scope, limits=limits, expires_at=expires_at
    )
    if as_json:
        say_json({**_shown(key), "key": secret})
        return 0
    say([secret])
    sys.stderr.write(
        f"wanfarm: {key.id} for project {key.project} ({', '.join(key.scopes)}); it cannot be shown again\n"
    )
    return 0


def list_keys(out_uri: str, *, as_json: bool) -> int:
    """0."""
    keys = _keys(out_uri).list()
    if as_json:
        say_json([_shown(key) for key in keys])
        return 0
    now_s = datetime.now(UTC).timestamp()
    head = ("id", "name", "project", "scopes", "limits", "created", "state")
    rows = [
        (key.id, key.name, key.project, ",".join(key.scopes), _limits(key), _day(key.created_at), _state(key, now_s))
        for key in keys
    ]
    say(aligned([head, *rows]) if rows else ["no keys"])
    return 0


def revoke_key(out_uri: str, key_id: str) -> int:
    """0. UsageError where there is no such key."""
    key = _keys(out_uri).revoke(key_id)
    say([f"{key.id} ({key.name}) is revoked; services notice within half a minute"])
    return 0


def _keys(out_uri: str) -> KeyStore:
    return KeyStore(open_storage(out_uri, options=Settings.from_env().options_for("s3")))


def _shown(key: Key) -> dict[str, Any]:
    return key.model_dump(mode="json")


def _limits(key: Key) -> str:
    shown = {
        "jobs": key.limits.max_open_jobs,
        "requests/min": key.limits.requests_per_minute,
        "device-s": key.limits.max_queued_device_seconds,
        "weight": key.limits.weight if key.limits.weight != 1 else None,
    }
    return " ".join(f"{name}={value:g}" for name, value in shown.items() if value is not None) or "-"


def _state(key: Key, now_s: float) -> str:
    if key.revoked_at is not None:
        return f"revoked {_day(key.revoked_at)}"
    if key.expires_at is None:
        return "usable"
    return f"{'usable until' if key.is_usable(now_s=now_s) else 'expired'} {_day(key.expires_at)}"


def _day(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).date().isoformat()
