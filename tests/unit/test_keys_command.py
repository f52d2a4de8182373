"""`wanfarm keys`: a key is printed once, alone on stdout, and never listed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from farm.keys import KeyStore
from farm.storage import LocalStorage
from jobs.cli import run


def test_a_key_from_its_making_to_its_revocation(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, keys = str(tmp_path / "out"), KeyStore(LocalStorage(tmp_path / "out"))
    limits = ["--max-open-jobs", "5", "--weight", "2", "--requests-per-minute", "60", "--max-device-seconds", "9.5"]
    assert run(["keys", "create", out, "--name", "Ann", "--project", "ann", "--scope", "admin", *limits]) == 0
    printed = capsys.readouterr()
    secret = printed.out.strip()
    key = keys.find(secret)
    assert key is not None
    assert (key.name, key.project, key.scopes) == ("Ann", "ann", ("admin",))
    assert (key.limits.max_open_jobs, key.limits.weight) == (5, 2.0)
    assert (key.limits.requests_per_minute, key.limits.max_queued_device_seconds) == (60, 9.5)
    assert secret not in printed.err
    assert run(["keys", "list", out]) == 0
    assert run(["keys", "list", out, "--json"]) == 0
    listed = capsys.readouterr().out
    assert key.id in listed
    assert secret not in listed
    assert run(["keys", "revoke", out, key.id]) == 0
    assert keys.find(secret) is None
    capsys.readouterr()
    assert run(["keys", "list", out]) == 0
    assert "revoked" in capsys.readouterr().out


def test_a_key_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "out")
    assert run(["keys", "create", out, "--name", "Ann", "--expires-days", "1", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    key = KeyStore(LocalStorage(out)).find(shown["key"])
    assert key is not None
    assert key.expires_at == pytest.approx(key.created_at + 24 * 3600, abs=5)
    assert (shown["id"], shown["project"], shown["scopes"]) == (key.id, "default", ["submit", "read"])
