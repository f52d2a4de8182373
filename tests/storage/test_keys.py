"""API keys over every storage: made once, found by their text alone, revoked, expired, and told nowhere."""

from __future__ import annotations

import hashlib
import traceback
import uuid

import pytest

from farm.errors import UsageError
from farm.keys import KeyLimits, KeyStore
from farm.layout import key_path
from farm.storage import MemoryStorage, Storage


def test_a_key_is_found_by_its_text_and_by_its_id(storage: Storage) -> None:
    keys = KeyStore(storage)
    limits = KeyLimits(max_open_jobs=3, requests_per_minute=60, max_queued_device_seconds=100.0, weight=2.0)
    key, secret = keys.create(name="Ann's laptop", project="ann", scopes=["submit", "read"], limits=limits)
    assert keys.find(secret) == keys.get(key.id) == key
    assert (key.limits, key.scopes, key.project) == (limits, ("submit", "read"), "ann")
    other, others_secret = keys.create(name="x", project="ben", scopes=["admin"])
    assert keys.find(others_secret) == other
    assert {one.id for one in keys.list()} == {key.id, other.id}
    assert len(secret) == 46


@pytest.mark.parametrize("change", ["", "x", "short", "upper", "path", "empty"])
def test_what_is_no_key(change: str) -> None:
    keys = KeyStore(MemoryStorage(uuid.uuid4().hex))
    key, secret = keys.create(name="a", project="ann")
    last = "A" if secret[-1] != "A" else "Q"
    wrong = {"": secret[:-1] + last, "x": secret + "x", "short": secret[:-1], "upper": secret.upper()}
    wrong |= {"path": "../../etc/passwd", "empty": ""}
    assert keys.find(wrong[change]) is None
    assert keys.get(wrong[change]) is None
    assert keys.get("key_" + "0" * 16) is None
    assert keys.get(key.id) == key


def test_a_revoked_key_opens_nothing(storage: Storage) -> None:
    keys = KeyStore(storage)
    key, secret = keys.create(name="a", project="ann")
    revoked = keys.revoke(key.id)
    assert revoked.revoked_at is not None
    assert (keys.find(secret), keys.get(key.id), list(keys.list())) == (None, None, [revoked])
    assert keys.revoke(key.id) == revoked
    with pytest.raises(UsageError, match="no key"):
        keys.revoke("key_" + "0" * 16)


def test_an_expired_key_opens_nothing() -> None:
    now = [1000.0]
    keys = KeyStore(MemoryStorage(uuid.uuid4().hex), clock=lambda: now[0])
    key, secret = keys.create(name="a", project="ann", expires_at=1060.0)
    assert keys.find(secret) == key
    now[0] = 1060.0
    assert keys.find(secret) is None


def test_a_key_is_told_nowhere(storage: Storage) -> None:
    keys = KeyStore(storage)
    key, secret = keys.create(name="a", project="ann")
    told = repr(keys) + repr(key) + str(key) + key.model_dump_json()
    for path in storage.names():
        told += path + storage.read(path).decode()
    assert secret not in told
    assert secret.removeprefix("wf_") not in told
    assert hashlib.sha256(secret.encode()).hexdigest() in told


def test_the_record_of_another_key_opens_nothing() -> None:
    storage = MemoryStorage(uuid.uuid4().hex)
    keys = KeyStore(storage)
    _, secret = keys.create(name="a", project="ann")
    admin, _ = keys.create(name="b", project="ann", scopes=["admin"])
    (admins,) = (path for path in storage.names("keys") if admin.id.removeprefix("key_") in path)
    storage.replace(key_path(hashlib.sha256(secret.encode()).hexdigest()), storage.read(admins))
    assert keys.find(secret) is None


@pytest.mark.parametrize(
    ("wrong", "says"),
    [({"name": ""}, "name"), ({"project": "../x"}, "project"), ({"scopes": ["root"]}, "scopes"), ({"scopes": []}, "s")],
)
def test_what_no_key_can_be_made_of(wrong: dict[str, object], says: str) -> None:
    keys = KeyStore(MemoryStorage(uuid.uuid4().hex))
    with pytest.raises(UsageError, match=says) as caught:
        keys.create(**{"name": "a", "project": "ann", **wrong})  # type: ignore[arg-type]
    assert "wf_" not in "".join(traceback.format_exception(caught.value, limit=0))
    assert keys.list() == []
