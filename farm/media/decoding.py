"""The process that decodes strangers' pictures: run as a program, it forks once for each of them.

The fork has no more memory, processor time, files or processes than its limits say, and its environment holds no
secrets. What it finds comes back as one line of JSON; whatever a hostile picture does to it ends with it.

Wire: on stdin, per picture, 5 unsigned 64-bit numbers (length, most pixels, memory beyond its own in bytes, processor
time in s, wall time in ms) and the picture; on stdout one line {"format", "width", "height"} or {"fault"}.
"""

from __future__ import annotations

import io
import json
import os
import resource
import select
import signal
import struct
import sys
from typing import Any, BinaryIO

from PIL import Image

from farm.errors import InputError
from farm.media.images import FORMATS, read_image

HEADER = struct.Struct("<5Q")
TOO_MUCH = "the picture takes more memory or time to decode than is allowed"


def main() -> None:
    """Serve until stdin ends."""
    while len(head := sys.stdin.buffer.read(HEADER.size)) == HEADER.size:
        length, max_pixels, max_memory, cpu_s, wall_ms = HEADER.unpack(head)
        data = sys.stdin.buffer.read(length)
        answer = _answer_of_fork(data, max_pixels=max_pixels, max_memory=max_memory, cpu_s=cpu_s, wall_ms=wall_ms)
        sys.stdout.buffer.write(json.dumps(answer).encode() + b"\n")
        sys.stdout.buffer.flush()


def _answer_of_fork(data: bytes, *, max_pixels: int, max_memory: int, cpu_s: int, wall_ms: int) -> dict[str, Any]:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        _decode_and_exit(data, writing, max_pixels=max_pixels, max_memory=max_memory, cpu_s=cpu_s)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        answer = _line_within(pipe, wall_ms)
    if answer is None:
        os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    # A child that died without a word ran into a limit: SIGXCPU, or no memory even to say so.
    return answer or {"fault": TOO_MUCH}


def _line_within(pipe: BinaryIO, wall_ms: int) -> dict[str, Any] | None:
    ready, _, _ = select.select([pipe], [], [], wall_ms / 1000)
    line = pipe.readline() if ready else b""
    return json.loads(line) if line else None


def _decode_and_exit(data: bytes, writing: int, *, max_pixels: int, max_memory: int, cpu_s: int) -> None:
    try:
        _limit(max_memory=max_memory, cpu_s=cpu_s)
        answer = _looked_at(data, max_pixels=max_pixels)
    except InputError as error:
        answer = {"fault": str(error)}
    except MemoryError:
        answer = {"fault": TOO_MUCH}
    except BaseException as error:  # the process boundary: whatever a decoder raises, the picture is refused
        answer = {"fault": f"the picture cannot be decoded ({type(error).__name__})"}
    os.write(writing, json.dumps(answer).encode() + b"\n")
    os._exit(0)


def _limit(*, max_memory: int, cpu_s: int) -> None:
    with open("/proc/self/statm", "rb") as file:  # noqa: PTH123 - a pseudo file
        own = int(file.read().split()[0]) * resource.getpagesize()
    for kind, most in (
        (resource.RLIMIT_AS, own + max_memory),
        (resource.RLIMIT_CPU, cpu_s),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NPROC, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, 16),
    ):
        resource.setrlimit(kind, (most, most))


def _looked_at(data: bytes, *, max_pixels: int) -> dict[str, Any]:
    pixels = read_image(data, max_bytes=len(data), max_pixels=max_pixels)
    with Image.open(io.BytesIO(data), formats=FORMATS) as image:
        kind = image.format
    return {"format": kind, "width": pixels.shape[1], "height": pixels.shape[0]}


if __name__ == "__main__":
    main()
