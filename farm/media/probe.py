"""What is in a finished video."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt

from farm.errors import InputError

Frames = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoFacts:
    """What a video file says of itself; `codec` by FFmpeg's name (h264, av1)."""

    codec: str
    pixel_format: str
    width: int
    height: int
    num_frames: int
    fps: float
    metadata: dict[str, str]


def probe_video(source: Path | bytes) -> VideoFacts:
    """Facts from the file's header, without decoding. InputError if it is no video."""
    with _opened(source) as container:
        stream = container.streams.video[0]
        return VideoFacts(
            codec=stream.codec_context.name.removeprefix("lib").removesuffix("dav1d") or "av1",
            pixel_format=stream.pix_fmt,
            width=stream.width,
            height=stream.height,
            num_frames=stream.frames,
            fps=float(stream.average_rate),
            metadata=dict(container.metadata),
        )


def read_frames(source: Path | bytes) -> Iterator[Frames]:
    """The frames one by one, uint8 RGB (H, W, 3). InputError if it is no video or breaks off."""
    with _opened(source) as container:
        try:
            for frame in container.decode(video=0):
                yield frame.to_ndarray(format="rgb24")
        except av.FFmpegError as error:
            raise InputError(f"the video cannot be decoded: {error}") from error


def _opened(source: Path | bytes) -> Any:
    try:
        container = av.open(io.BytesIO(source) if isinstance(source, bytes) else str(source))
    except av.FFmpegError as error:
        raise InputError(f"not a readable video: {error}") from error
    if not container.streams.video:
        container.close()
        raise InputError("the file holds no video")
    return container
