"""moto's S3 emulator as a process of its own, so that killed publishers can be told from killed servers."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from services.endpoint import S3Endpoint, free_port, wait_until_open


@contextmanager
def running_moto() -> Iterator[S3Endpoint]:
    """An emulator on a free loopback port for as long as the block lasts."""
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until_open(port, timeout_s=60)
        yield S3Endpoint(url=f"http://127.0.0.1:{port}", access_key="testing", secret_key="testing-secret")
    finally:
        server.terminate()
        server.wait(timeout=10)
