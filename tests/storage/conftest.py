"""The storages that must all behave alike."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest
from services.endpoint import S3Endpoint

from farm.storage import LocalStorage, MemoryStorage, Storage, open_storage

S3_KINDS = ["s3", pytest.param("ceph", marks=pytest.mark.real_s3)]
REAL_KINDS = ["local", *S3_KINDS]


@pytest.fixture(params=["memory", *REAL_KINDS])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    return make_storage(request, request.param, tmp_path)


@pytest.fixture(params=REAL_KINDS)
def durable_storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    """A storage that other processes see too."""
    return make_storage(request, request.param, tmp_path)


def make_storage(request: pytest.FixtureRequest, kind: str, tmp_path: Path) -> Storage:
    if kind == "memory":
        return MemoryStorage(uuid.uuid4().hex)
    if kind == "local":
        return LocalStorage(tmp_path / "out")
    endpoint: S3Endpoint = request.getfixturevalue("moto_s3" if kind == "s3" else "ceph_s3")
    return open_storage(f"s3://{endpoint.new_bucket()}/some/run", options=endpoint.options)
