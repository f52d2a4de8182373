"""A clip's two still pictures, taken while its frames pass by: a poster, and a strip of moments for scrubbing."""

from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt
from PIL import Image

Frames = npt.NDArray[np.uint8]

POSTER_WIDTH = 480
STRIP_MOMENTS = 8
STRIP_WIDTH = 160
SMALL_PIXELS = 1 << 16


class Thumbnailer:
    """Keeps the frames it needs of those it is shown, which are a clip's from first to last."""

    def __init__(self, num_frames: int) -> None:
        self._poster_at = num_frames // 2
        self._moments = moments_of(num_frames)
        self._num_seen = 0
        self._kept: dict[int, Image.Image] = {}

    def look(self, frames_FHWC: Frames) -> None:
        """See the next frames, uint8 RGB (F, H, W, 3)."""
        for offset, frame in enumerate(frames_FHWC):
            number = self._num_seen + offset
            if number == self._poster_at:
                self._poster = _fit(frame, POSTER_WIDTH)
            if number in self._moments:
                self._kept[number] = _fit(frame, STRIP_WIDTH)
        self._num_seen += len(frames_FHWC)

    def poster(self) -> bytes:
        """The middle frame as WebP, at most 480 pixels wide. ValueError before it was seen."""
        if self._num_seen <= self._poster_at:
            raise ValueError(f"only {self._num_seen} frames were shown")
        return _webp(self._poster)

    def strip(self) -> bytes:
        """Eight moments side by side (fewer in a shorter clip) as WebP, each at most 160 pixels wide."""
        tiles = [self._kept[number] for number in self._moments]
        width, height = tiles[0].size
        strip = Image.new("RGB", (width * len(tiles), height))
        for position, tile in enumerate(tiles):
            strip.paste(tile, (position * width, 0))
        return _webp(strip)


def moments_of(num_frames: int) -> tuple[int, ...]:
    """Up to eight frame numbers, evenly spread, the first and the last among them."""
    count = min(STRIP_MOMENTS, num_frames)
    if count == 1:
        return (0,)
    return tuple(round(position * (num_frames - 1) / (count - 1)) for position in range(count))


def _fit(frame_HWC: Frames, width: int) -> Image.Image:
    # Smaller clips stay as they are: enlarging is the page's business, not the file's.
    image = Image.fromarray(np.ascontiguousarray(frame_HWC), "RGB")
    if image.width <= width:
        return image
    return image.resize((width, max(1, round(image.height * width / image.width))), Image.Resampling.LANCZOS)


def _webp(image: Image.Image) -> bytes:
    sink = io.BytesIO()
    # WebP halves colour's resolution, which a picture of few pixels cannot spare.
    image.save(sink, "WEBP", quality=85, method=4, lossless=image.width * image.height <= SMALL_PIXELS)
    return sink.getvalue()
