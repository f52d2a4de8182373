"""A Ray cluster of one node as an operator starts it, on ports and in a folder of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from jobs.session import machine_at
from services.endpoint import free_port, wait_until_open

START_S = 60.0
# Prometheus reads it; Ray's dashboard writes it.
DISCOVERY = "prom_metrics_service_discovery.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class RayHead:
    """One that runs; `folder` is its --temp-dir."""

    address: str
    folder: Path
    process: psutil.Process

    @property
    def discovery(self) -> Path:
        return self.folder / DISCOVERY

    def processes(self, name: str) -> list[psutil.Process]:
        """Its processes whose command line holds that."""
        found = []
        for child in self.process.children(recursive=True):
            try:
                if name in " ".join(child.cmdline()):
                    found.append(child)
            except psutil.NoSuchProcess:
                continue
        return found

    def kill(self) -> None:
        """End all of it at once."""
        try:
            below = self.process.children(recursive=True)
            self.process.kill()
        except psutil.NoSuchProcess:
            return
        for child in below:
            try:
                child.kill()
            except psutil.NoSuchProcess:
                continue
        psutil.wait_procs(below, timeout=20)


@contextmanager
def running_ray_head(*, num_cpus: int, environment: Mapping[str, str]) -> Iterator[RayHead]:
    """With its dashboard, which tells Prometheus of its nodes."""
    folder = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))  # Unix sockets below it may have 107 characters
    port = free_port()
    options = {
        "--port": port,
        "--num-cpus": num_cpus,
        "--object-store-memory": 100 * 2**20,
        "--metrics-export-port": free_port(),
        "--dashboard-host": "127.0.0.1",
        "--dashboard-port": free_port(),
        "--ray-client-server-port": free_port(),
        "--temp-dir": folder,
    }
    flags = [f"{name}={value}" for name, value in options.items()]
    with (folder / "head.log").open("wb") as log:
        started = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "ray.scripts.scripts",
                "start",
                "--head",
                "--block",
                "--include-dashboard=true",
                *flags,
            ],
            stdout=log,
            stderr=log,
            env={**os.environ, **environment, "RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"},
            start_new_session=True,
        )
    head = RayHead(address=f"127.0.0.1:{port}", folder=folder, process=psutil.Process(started.pid))
    try:
        wait_until_open(port, timeout_s=START_S)
        _await_node(head)
        yield head
    finally:
        head.kill()
        started.wait(timeout=30)
        shutil.rmtree(folder, ignore_errors=True)


def _await_node(head: RayHead) -> None:
    """Return when its node offers what it has, and Prometheus can find it."""
    deadline_s = time.monotonic() + START_S
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "disabled")
        while not (head.discovery.exists() and machine_at(head.address).num_cpus):
            if time.monotonic() > deadline_s:
                raise TimeoutError(f"no node of Ray: {(head.folder / 'head.log').read_text()}")
            time.sleep(0.2)
