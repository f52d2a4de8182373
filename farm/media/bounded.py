"""Looks at strangers' pictures in a process apart, with bounds on memory and time (see `farm.media.decoding`)."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from farm.errors import InputError, TransientError
from farm.media.decoding import HEADER, TOO_MUCH

# PATH and the like are of no use to a decoder, and credentials none of its business.
_KEPT = ("LANG", "LC_ALL", "LD_LIBRARY_PATH", "TZ")


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What decoding one picture may take: pixels, bytes of memory, seconds of processor and of wall time."""

    max_pixels: int = 25_000_000
    memory_bytes: int = 768 * 2**20
    cpu_s: int = 10
    wall_s: float = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """What a picture turned out to be: its format ("PNG", "JPEG", "WEBP") and its size upright, in pixels."""

    format: str
    width: int
    height: int


class BoundedDecoder:
    """A few decoding processes, started when first needed. Thread-safe; `close` ends them."""

    def __init__(self, bounds: Bounds, *, num_processes: int = 2) -> None:
        self._bounds = bounds
        self._lanes: queue.LifoQueue[_Lane] = queue.LifoQueue()
        self._all = [_Lane(bounds) for _ in range(num_processes)]
        for lane in reversed(self._all):
            self._lanes.put(lane)

    def look(self, data: bytes) -> Picture:
        """What the picture is, wholly decoded once. InputError where it cannot be used, saying why."""
        with self._free_lane() as lane:
            answer = lane.ask(data)
        if "fault" in answer:
            raise InputError(str(answer["fault"]))
        return Picture(format=str(answer["format"]), width=int(answer["width"]), height=int(answer["height"]))

    def warm(self) -> None:
        """Start one process now, so that the first picture need not wait for it."""
        with self._free_lane() as lane:
            lane.start()

    def close(self) -> None:
        """End the processes; a picture that is being looked at is lost."""
        for lane in self._all:
            lane.stop()

    @contextmanager
    def _free_lane(self) -> Iterator[_Lane]:
        lane = self._lanes.get()
        try:
            yield lane
        finally:
            self._lanes.put(lane)


class _Lane:
    """One decoding process, started anew when it is gone."""

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            environment = {name: os.environ[name] for name in _KEPT if name in os.environ}
            environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
            self._process = subprocess.Popen(
                [sys.executable, "-m", "farm.media.decoding"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=environment,
                cwd="/",
            )
        return self._process

    def ask(self, data: bytes) -> dict[str, Any]:
        process, bounds = self.start(), self._bounds
        head = HEADER.pack(
            len(data), bounds.max_pixels, bounds.memory_bytes, bounds.cpu_s, int(bounds.wall_s * 1000)
        )  # fmt: skip
        # The process keeps the time of its forks; should it hang itself, this ends it.
        guard = threading.Timer(2 * bounds.wall_s + 30.0, process.kill)
        guard.daemon = True
        guard.start()
        try:
            line = _exchange(process, head + data)
        finally:
            guard.cancel()
        if not line:
            self.stop()
            raise TransientError("the process that decodes pictures died; try again")
        answer: dict[str, Any] = json.loads(line)
        return answer if answer.get("width") or "fault" in answer else {"fault": TOO_MUCH}

    def stop(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()


def _exchange(process: subprocess.Popen[bytes], message: bytes) -> bytes:
    """The answer, empty where the process is gone."""
    if process.stdin is None or process.stdout is None:
        return b""
    try:
        process.stdin.write(message)
        process.stdin.flush()
    except OSError:
        return b""
    return process.stdout.readline()
