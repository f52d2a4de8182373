"""Clips to test with: what was asked of one, and the record of one that is done."""

from __future__ import annotations

import hashlib
from typing import Any

from farm.provenance import Execution, Record, Worker, build_record
from farm.spec import ClipSpec


def make_spec(*, width: int = 64, height: int = 64, **changes: Any) -> ClipSpec:
    """A spec of the nano model's size and length, but for what is given."""
    values: dict[str, Any] = {
        "prompt": "a red ball", "negative_prompt": "", "seed": 0, "width": width, "height": height,
        "render_width": width, "render_height": height, "num_frames": 17, "fps": 8, "num_inference_steps": 20,
        "guidance_high": 3.0, "guidance_low": 3.0, "shift": 3.0, "solver": "unipc", "profile": "official",
        "model": "0" * 64, "dtype": "float32", "codec": "h264",
    }  # fmt: skip
    return ClipSpec(**(values | changes))


def make_record(
    spec: ClipSpec | None = None, *, video: bytes = b"video", host: str = "here", device: str = "cpu", **changes: Any
) -> Record:
    """The record of a clip whose file has these bytes; `changes` go to `build_record`."""
    values: dict[str, Any] = {"timings": {"denoise": 1.5}, "device_seconds": 2.0, "attempts": 1}
    return build_record(
        spec or make_spec(),
        model_name="nano",
        sha256=hashlib.sha256(video).hexdigest(),
        size_bytes=len(video),
        execution=Execution(
            device=device, threads=1, attention="sdpa", libraries={"torch": "2"}, encoder={"crf": "17"}
        ),
        worker=Worker(host=host, pid=1),
        committed_at="2026-01-01T00:00:00Z",
        **(values | changes),
    )
