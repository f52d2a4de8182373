"""Reads colour, shape, motion and background off the pixels of a clip. It never sees a caption.

The evaluation of the nano model, and any check that a clip shows what its prompt says, compares this reading with the
words. It knows the world's palette and the outlines of its shapes, nothing of a particular clip.

Legend: F frames, H height, W width.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from wan_model.nano.world import BACKGROUNDS, COLOURS, MOTIONS, SHAPES, signed_distance

STILL_LIMIT = 0.08  # of the frame's side: a shape that ends nearer to where it began is still
MIN_CONTRAST = 40.0  # 8-bit steps (RGB distance) between the background and something that counts as a shape
MIN_AREA = 0.01  # of the frame
_SHAPE_SAMPLES = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What a clip shows. Colour, shape and motion are None where no shape is to be seen.

    `outline` is the mean overlap (intersection over union, 0 to 1) of the pixels with the outline of the shape that was
    read, over the clip: clean clips have 0.85 and more, and smears, fragments and second shapes lower it.
    """

    colour: str | None
    shape: str | None
    motion: str | None
    background: str
    outline: float


def judge(frames: NDArray[np.uint8]) -> Reading:
    """Reads a clip (F, H, W, 3).

    Raises:
        ValueError: not an 8-bit RGB clip.
    """
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[-1] != 3 or 0 in frames.shape:
        raise ValueError(f"expected uint8 frames (F, H, W, 3), got {frames.dtype} {frames.shape}")
    pixels = frames.astype(np.float32)
    ground = np.median(pixels.reshape(-1, 3), axis=0)
    background = _nearest(ground, BACKGROUNDS)
    ink = _ink(pixels, ground)
    if ink is None:
        return Reading(colour=None, shape=None, motion=None, background=background, outline=0.0)
    cover_FHW = np.clip((pixels - ground) @ (ink - ground) / np.sum((ink - ground) ** 2), 0, 1)
    if float(cover_FHW.mean()) < MIN_AREA:
        return Reading(colour=None, shape=None, motion=None, background=background, outline=0.0)
    shape, outline = _read_shape(cover_FHW)
    return Reading(
        colour=_nearest(ink, COLOURS),
        shape=shape,
        motion=_read_motion(cover_FHW),
        background=background,
        outline=outline,
    )


def _nearest(colour: NDArray[np.float32], palette: Mapping[str, tuple[int, int, int]]) -> str:
    return min(palette, key=lambda name: float(np.sum((np.array(palette[name], np.float32) - colour) ** 2)))


def _ink(pixels: NDArray[np.float32], ground: NDArray[np.float32]) -> NDArray[np.float32] | None:
    """The shape's colour: the median of the pixels that differ clearly from the background (edges are mixtures)."""
    contrast = np.linalg.norm(pixels - ground, axis=-1)
    top = float(np.quantile(contrast, 0.99))
    if top < MIN_CONTRAST:
        return None
    inside: NDArray[np.float32] = np.median(pixels[contrast > 0.75 * top], axis=0)
    return inside


def _centres(cover_FHW: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Centre of mass (x, y) and area of each frame's shape, in pixels. Faint residue does not count."""
    solid = np.where(cover_FHW > 0.25, cover_FHW, 0)
    area = np.maximum(solid.sum(axis=(1, 2)), 1e-6)
    x = (solid.sum(axis=1) @ (np.arange(solid.shape[2], dtype=np.float32) + 0.5)) / area
    y = (solid.sum(axis=2) @ (np.arange(solid.shape[1], dtype=np.float32) + 0.5)) / area
    return x, y, area


def _read_motion(cover_FHW: NDArray[np.float32]) -> str:
    """The direction between the first and the last fifth of the clip."""
    x, y, _ = _centres(cover_FHW)
    span = max(1, len(x) // 5)
    moved_x = float(x[-span:].mean() - x[:span].mean()) / cover_FHW.shape[2]
    moved_y = float(y[-span:].mean() - y[:span].mean()) / cover_FHW.shape[1]
    if max(abs(moved_x), abs(moved_y)) < STILL_LIMIT:
        return "still"
    way = (int(np.sign(moved_x)), 0) if abs(moved_x) > abs(moved_y) else (0, int(np.sign(moved_y)))
    return next(name for name, direction in MOTIONS.items() if direction == way)


def _read_shape(cover_FHW: NDArray[np.float32]) -> tuple[str, float]:
    """The shape whose outline, at the same area and centre of mass, overlaps best over a few frames."""
    chosen = np.unique(np.linspace(0, len(cover_FHW) - 1, _SHAPE_SAMPLES).round().astype(int))
    cover = cover_FHW[chosen]
    overlaps = {shape: _overlap(shape, cover) for shape in SHAPES}
    best = max(SHAPES, key=lambda shape: overlaps[shape])
    return best, overlaps[best]


def _overlap(shape: str, cover_FHW: NDArray[np.float32]) -> float:
    x, y, area = (value[:, None, None].astype(np.float32) for value in _centres(cover_FHW))
    unit_area, unit_drop = _unit_moments(shape)
    radius = np.sqrt(area / unit_area)
    columns = np.arange(cover_FHW.shape[2], dtype=np.float32) + np.float32(0.5)
    rows = np.arange(cover_FHW.shape[1], dtype=np.float32)[:, None] + np.float32(0.5)
    template = np.clip(signed_distance(shape, columns - x, rows - y + unit_drop * radius, radius) + 0.5, 0, 1)
    shared = np.minimum(template, cover_FHW).sum(axis=(1, 2))
    either = np.maximum(template, cover_FHW).sum(axis=(1, 2))
    return float(np.mean(shared / either))


@cache
def _unit_moments(shape: str) -> tuple[np.float32, np.float32]:
    """Area of the shape of radius 1, and how far its centre of mass lies below its origin."""
    grid = (np.arange(200, dtype=np.float32) - np.float32(99.5)) / np.float32(80)
    inside = signed_distance(shape, grid, grid[:, None], np.float32(1)) > 0
    area = np.float32(inside.sum() / 6400)
    return area, np.float32((inside * grid[:, None]).sum() / 6400 / area)
