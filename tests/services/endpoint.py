"""An S3 server that runs, and how to talk to it."""

from __future__ import annotations

import os
import socket
import time
import uuid
from dataclasses import dataclass
from typing import Any, NoReturn

import boto3
import pytest


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Endpoint:
    url: str
    access_key: str
    secret_key: str

    @property
    def options(self) -> dict[str, Any]:
        """What `farm.storage.open_storage` takes."""
        return {
            "endpoint_url": self.url,
            "key": self.access_key,
            "secret": self.secret_key,
            "client_kwargs": {"region_name": "us-east-1"},
        }

    @property
    def environment(self) -> dict[str, str]:
        """The same as the standard AWS environment, for the command and its workers."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_DEFAULT_REGION": "us-east-1",
        }

    def new_bucket(self) -> str:
        name = f"farm-{uuid.uuid4().hex[:12]}"
        self.client().create_bucket(Bucket=name)
        return name

    def client(self) -> Any:
        return boto3.client(
            "s3",
            endpoint_url=self.url,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            region_name="us-east-1",
        )


def skip_or_fail(component: str, reason: str) -> NoReturn:
    """Skip a test whose real component is missing, unless REQUIRE (a comma list) says that it must be there."""
    if component in os.environ.get("REQUIRE", "").split(","):
        pytest.fail(f"REQUIRE={component}, but {reason}")
    pytest.skip(reason)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until_open(port: int, *, timeout_s: float) -> None:
    """Return when something listens on the loopback port; raises TimeoutError."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            probe.settimeout(1.0)
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise TimeoutError(f"nothing listens on port {port} after {timeout_s} s")
