"""kill -9 of a publisher at random points: no torn file under a final name, and what has a record is whole."""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from services.endpoint import S3Endpoint

from farm import ledger
from farm.storage import LocalStorage, Storage
from farm.storage.s3 import S3Storage

# Publishes clips for ever in a forked child, kills it after a random time, and so on; a fork costs less than a start.
SCRIPT = """
import hashlib, os, random, signal, sys, tempfile, time
from pathlib import Path
from farm import ledger
from farm.storage import open_storage
sys.path.insert(0, sys.argv[1])
from example_clips import make_record, make_spec

storage, seed, num_kills = open_storage(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])

def publish_for_ever(start, ready):
    os.write(ready, b".")
    folder = Path(tempfile.mkdtemp())
    for number in range(start, start + 10**6):
        data = random.Random(number).randbytes(400_000)
        spool = folder / "spool"
        spool.write_bytes(data)
        artifacts = ledger.Artifacts(video=spool, thumbnail=data[:3000], strip=data[:9000])
        record = make_record(make_spec(seed=number), video=data)
        ledger.commit_clip(storage, record, artifacts=artifacts)

dice = random.Random(seed)
for kill in range(num_kills):
    # Each child goes over the clip that its predecessor died in.
    readable, ready = os.pipe()
    child = os.fork()
    if child == 0:
        publish_for_ever(len(ledger.committed_ids(storage)), ready)
    os.read(readable, 1)
    time.sleep(dice.uniform(0.02, 0.4))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
"""


def test_no_torn_file_after_kill_9(durable_storage: Storage, request: pytest.FixtureRequest) -> None:
    seed = random.randrange(10**6)
    environment, num_kills = dict(os.environ), 15
    if isinstance(durable_storage, S3Storage):
        num_kills = 8
        environment |= endpoint_of(durable_storage, request).environment
    tests = str(Path(__file__).parents[1])
    command = [sys.executable, "-c", SCRIPT, tests, durable_storage.uri, str(seed), str(num_kills)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr[-2000:]
    check_files(durable_storage, note=f"seed {seed}")


def endpoint_of(storage: S3Storage, request: pytest.FixtureRequest) -> S3Endpoint:
    kind = "ceph_s3" if "ceph" in request.node.callspec.id else "moto_s3"
    endpoint: S3Endpoint = request.getfixturevalue(kind)
    return endpoint


def check_files(storage: Storage, *, note: str) -> None:
    names = set(storage.names())
    committed = ledger.committed_ids(storage)
    assert len(committed) >= 5, f"hardly anything was published ({note})"
    for name in names:
        match = re.search(r"-([0-9a-f]{8})\.mp4$", name)
        if match:
            assert hashlib.sha256(storage.read(name)).hexdigest().startswith(match.group(1)), f"{name} is torn ({note})"
    for clip_id in committed:
        record: dict[str, Any] = json.loads(storage.read(f"clips/{clip_id[:2]}/{clip_id}.json"))
        assert {record["video"]["path"], record["thumbnail"], record["strip"]} <= names, f"{clip_id} ({note})"
        assert len(storage.read(record["thumbnail"])) == 3000
        assert len(storage.read(record["strip"])) == 9000
    unclaimed = [name for name in names if name.endswith(".mp4")]
    assert len(unclaimed) - len(committed) <= 1, f"each child finishes its predecessor's clip ({note})"
    if isinstance(storage, LocalStorage):
        storage.sweep(older_than_s=0.0)
        assert {str(path.relative_to(storage.root)) for path in storage.root.rglob("*") if path.is_file()} == names
