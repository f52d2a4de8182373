"""Drives the command as a person would, and looks at what it left."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest

from farm.ledger import committed_ids, read_records
from farm.results import read_results
from farm.storage import Storage, open_storage
from jobs.cli import run

# A shape that even a real tiny model makes in no time.
SMALL: Mapping[str, Any] = {"width": 32, "height": 32, "num_frames": 5, "num_inference_steps": 2, "fps": 8}
RENDER_S = 240.0


class Farm:
    """The command, its manifest and its output, below one temporary folder."""

    def __init__(self, folder: Path, *, model: str, environment: Mapping[str, str], out: str | None = None) -> None:
        self.folder = folder
        self.model = model
        self.manifest = folder / "manifest.jsonl"
        self.out = out or str(folder / "out")
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("WANFARM_", "RAY_"))},
            "WANFARM_CACHE": str(folder / "cache"),
            "OMP_NUM_THREADS": "1",
            **environment,
        }
        self._processes: list[subprocess.Popen[str]] = []

    def write(self, rows: Sequence[Mapping[str, Any]]) -> Path:
        """The manifest, as JSON Lines."""
        self.manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return self.manifest

    def write_clips(self, count: int, *, slow_s: float = 0.0) -> Path:
        """So many different clips, each of which takes a while."""
        prompt = f" fake:slow={slow_s}" if slow_s else ""
        return self.write([{"id": f"c{n}", "prompt": f"a red circle {n}{prompt}", **SMALL} for n in range(count)])

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """A command under way."""
        process = subprocess.Popen(
            [sys.executable, "-m", "jobs.cli", *arguments],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,  # a process group of its own, as a shell makes one
        )
        self._processes.append(process)
        return process

    def start_render(self, *flags: str) -> subprocess.Popen[str]:
        return self.start("render", str(self.manifest), "--out", self.out, "--model", self.model, *flags)

    def run(self, *arguments: str, timeout_s: float = RENDER_S) -> tuple[int, str]:
        """A command to its end: exit code and everything it said."""
        return finish(self.start(*arguments), timeout_s=timeout_s)

    def call(self, *arguments: str) -> int:
        """A command in this process, for those that end before Ray."""
        with pytest.MonkeyPatch.context() as patch:
            for name, value in self.environment.items():
                patch.setenv(name, value)
            return run(list(arguments))

    def render(self, *flags: str, timeout_s: float = RENDER_S) -> tuple[int, str]:
        return finish(self.start_render(*flags), timeout_s=timeout_s)

    @property
    def storage(self) -> Storage:
        return open_storage(self.out)

    def committed(self) -> set[str]:
        return committed_ids(self.storage)

    def records(self) -> dict[str, dict[str, Any]]:
        return {record["clip_id"]: record for record in read_records(self.storage)}

    def results(self) -> list[dict[str, Any]]:
        """The lines of the only run."""
        (run_id,) = self.storage.folders("runs")
        return list(read_results(self.storage, run_id))

    def await_clips(self, count: int, process: subprocess.Popen[str], *, timeout_s: float = RENDER_S) -> None:
        """Return when so many clips are committed while the process still works."""

        def are_there() -> bool:
            if process.poll() is not None:
                raise AssertionError(f"the command ended with {process.returncode}: {finish(process)[1]}")
            return len(self.committed()) >= count

        wait_until(are_there, timeout_s=timeout_s, what=f"{count} clips")

    def stop_all(self) -> None:
        """End whatever a test has left running."""
        for process in self._processes:
            if process.poll() is None:
                for child in children_of(process):
                    _kill(child)
                process.kill()
            if process.stdout is not None:
                process.stdout.close()
            process.wait(timeout=30)


def finish(process: subprocess.Popen[str], *, timeout_s: float = RENDER_S) -> tuple[int, str]:
    """Wait for a command's end."""
    try:
        output, _ = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired as error:
        raise AssertionError(f"still running after {timeout_s} s: {error.output!r}") from error
    return process.returncode, output


def driver_of(process: subprocess.Popen[str]) -> psutil.Process:
    """Of a command that uses Ray the process that does so; the one that was started guards it."""
    guard = psutil.Process(process.pid)
    wait_until(lambda: bool(guard.children()), timeout_s=30, what="the driver")
    return guard.children()[0]


def children_of(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """All processes below a driver: its Ray."""
    try:
        return [child for driver in psutil.Process(process.pid).children() for child in driver.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def has_workers(driver: subprocess.Popen[str]) -> bool:
    """Whether Ray Data holds actors."""
    for child in children_of(driver):
        with contextlib.suppress(psutil.NoSuchProcess):
            if child.name().startswith("ray::MapW"):
                return True
    return False


def kill_ray(process: subprocess.Popen[str], *, only: str | None = None) -> None:
    """SIGKILL to everything below the driver, or to the processes of one name."""
    for child in children_of(process):
        if only is None or child.name() == only:
            _kill(child)


def kill_driver(process: subprocess.Popen[str]) -> None:
    """SIGKILL to the command, not to its Ray."""
    process.send_signal(signal.SIGKILL)
    process.wait(timeout=30)


def wait_until(condition: Callable[[], bool], *, timeout_s: float, what: str) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {timeout_s} s for {what}")
        time.sleep(0.1)


def stamps(out: str) -> dict[str, tuple[int, bytes]]:
    """Time and content of every file under a final name, to see whether a later run touched them."""
    out_storage = open_storage(out)
    files = [Path(out) / name for kind in ("clips", "thumbs") for name in out_storage.names(kind)]
    return {str(path): (path.stat().st_mtime_ns, path.read_bytes()) for path in files}


def stamps_of(clip_ids: set[str], out: str) -> dict[str, tuple[int, bytes]]:
    """Of those clips alone."""
    return {path: stamp for path, stamp in stamps(out).items() if Path(path).name[:32] in clip_ids}


def _kill(child: psutil.Process) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        child.kill()
