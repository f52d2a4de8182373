"""Fixtures for the S3 servers, each started once a session and only when a test asks for it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from services import ceph
from services.endpoint import S3Endpoint, skip_or_fail
from services.moto import running_moto


@pytest.fixture(scope="session")
def moto_s3() -> Iterator[S3Endpoint]:
    with running_moto() as endpoint:
        yield endpoint


@pytest.fixture(scope="session")
def ceph_s3() -> Iterator[S3Endpoint]:
    missing = ceph.missing_programs()
    if missing:
        skip_or_fail("ceph", f"not installed: {', '.join(missing)} (apt-get install {ceph.PACKAGES})")
    with ceph.running_ceph() as endpoint:
        yield endpoint
