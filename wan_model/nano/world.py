"""The made-up world that the nano model is trained on: one flat shape that moves over a flat background.

Everything here is a function of a `numpy.random.Generator`, so a seed names a clip. A tenth of the combinations is
held out of training by a fixed rule (`is_held_out`), which lets an evaluation tell recall from composition.

Legend: N clips, F frames, H height, W width.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product

import numpy as np
from numpy.typing import NDArray

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (220, 40, 40),
    "orange": (245, 140, 30),
    "yellow": (240, 220, 60),
    "green": (40, 185, 70),
    "cyan": (60, 215, 225),
    "blue": (50, 90, 240),
    "purple": (165, 60, 205),
    "white": (242, 242, 242),
}
BACKGROUNDS: dict[str, tuple[int, int, int]] = {
    "black": (12, 12, 12),
    "gray": (112, 112, 112),
    "navy": (16, 20, 74),
    "brown": (92, 60, 36),
}
SHAPES = ("circle", "square", "triangle", "cross")
MOTIONS: dict[str, tuple[int, int]] = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1), "still": (0, 0)}

MIN_RADIUS, MAX_RADIUS = 0.14, 0.21  # of the shorter side
MIN_TRAVEL, MAX_TRAVEL = 0.30, 0.58  # of the side along the motion, over the whole clip
MARGIN = 0.02

# Half-widths of a shape of radius 1 from its centre: left/right, up, down.
_EXTENT = {
    "circle": (1.0, 1.0, 1.0),
    "square": (0.88, 0.88, 0.88),
    "triangle": (1.04, 1.0, 0.8),
    "cross": (1.0, 1.0, 1.0),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Attributes:
    """What a caption of this world says of a clip."""

    colour: str
    shape: str
    motion: str
    background: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """One clip before it is drawn. `radius` is in shorter sides, `start` (x, y) and `travel` in widths and heights."""

    attributes: Attributes
    radius: float
    start: tuple[float, float]
    travel: float


@cache
def combinations() -> tuple[Attributes, ...]:
    """All combinations of the four attributes, in a fixed order."""
    return tuple(
        Attributes(colour=colour, shape=shape, motion=motion, background=background)
        for colour, shape, motion, background in product(COLOURS, SHAPES, MOTIONS, BACKGROUNDS)
    )


def is_held_out(attributes: Attributes) -> bool:
    """Whether training never sees this combination: about a tenth of them, by a hash that no seed changes."""
    words = f"{attributes.colour} {attributes.shape} {attributes.motion} {attributes.background}"
    return hashlib.sha256(words.encode()).digest()[0] % 10 == 0


@cache
def seen_combinations() -> tuple[Attributes, ...]:
    return tuple(attributes for attributes in combinations() if not is_held_out(attributes))


@cache
def held_out_combinations() -> tuple[Attributes, ...]:
    return tuple(attributes for attributes in combinations() if is_held_out(attributes))


def sample_scene(rng: np.random.Generator, attributes: Attributes) -> Scene:
    """A random size, position and speed at which the shape stays inside the picture."""
    radius = rng.uniform(MIN_RADIUS, MAX_RADIUS)
    half_width, above, below = (radius * extent + MARGIN for extent in _EXTENT[attributes.shape])
    direction_x, direction_y = MOTIONS[attributes.motion]
    low = np.array([half_width, above])
    room = 1.0 - low - np.array([half_width, below])
    along_x = direction_x != 0
    travel = (
        rng.uniform(MIN_TRAVEL, min(MAX_TRAVEL, room[0 if along_x else 1])) if attributes.motion != "still" else 0.0
    )
    path = travel * np.array([direction_x, direction_y])
    start = low + np.maximum(-path, 0) + rng.random(2) * (room - np.abs(path))
    return Scene(attributes=attributes, radius=radius, start=(float(start[0]), float(start[1])), travel=travel)


def sample_scenes(rng: np.random.Generator, count: int, *, among: Sequence[Attributes] | None = None) -> list[Scene]:
    """`count` scenes of combinations drawn from `among`, by default those that training may see."""
    pool = seen_combinations() if among is None else among
    return [sample_scene(rng, pool[index]) for index in rng.integers(len(pool), size=count)]


def signed_distance(
    shape: str, x: NDArray[np.float32], y: NDArray[np.float32], radius: NDArray[np.float32] | np.float32
) -> NDArray[np.float32]:
    """Pixels to the edge of a shape centred at the origin, positive inside. Arrays broadcast; y grows downwards."""
    if shape == "circle":
        return radius - np.hypot(x, y)
    if shape == "square":
        return np.float32(0.88) * radius - np.maximum(np.abs(x), np.abs(y))
    if shape == "triangle":  # sides of slope 2:1.15, measured perpendicular to them
        return np.minimum(
            np.float32(0.8) * radius - y, (np.float32(0.575) * (y + radius) - np.abs(x)) * np.float32(0.867)
        )
    if shape == "cross":
        wide, narrow = radius, np.float32(0.34) * radius
        x, y = np.abs(x), np.abs(y)
        return np.maximum(np.minimum(wide - x, narrow - y), np.minimum(narrow - x, wide - y))
    raise ValueError(f"unknown shape {shape!r}: expected one of {', '.join(SHAPES)}")


def palette(scenes: Sequence[Scene]) -> NDArray[np.float32]:
    """The colours of shape and background of each scene, 0 to 255: (N, 2, 3)."""
    pairs = [(COLOURS[scene.attributes.colour], BACKGROUNDS[scene.attributes.background]) for scene in scenes]
    return np.array(pairs, np.float32)


def render(
    scenes: Sequence[Scene],
    *,
    num_frames: int = 17,
    height: int = 64,
    width: int = 64,
    colours: NDArray[np.float32] | None = None,
) -> NDArray[np.uint8]:
    """Draws clips with anti-aliased edges: (N, F, H, W, 3). `colours` (N, 2, 3) stands in for `palette(scenes)`."""
    pairs = palette(scenes) if colours is None else colours
    clips = np.empty((len(scenes), num_frames, height, width, 3), np.uint8)
    for index, scene in enumerate(scenes):
        foreground, background = pairs[index]
        cover_FHW1 = _cover(scene, num_frames, height, width)[..., None]
        clips[index] = background + cover_FHW1 * (foreground - background) + np.float32(0.5)
    return clips


def _cover(scene: Scene, num_frames: int, height: int, width: int) -> NDArray[np.float32]:
    """How much of each pixel the shape covers, 0 to 1: (F, H, W)."""
    attributes = scene.attributes
    direction_x, direction_y = MOTIONS[attributes.motion]
    # The travel belongs to a clip of 17 frames: a shorter clip is its beginning, as for a camera that stops early.
    moved_F = np.arange(num_frames, dtype=np.float32).reshape(-1, 1, 1) * np.float32(scene.travel / 16)
    x = np.arange(width, dtype=np.float32) + np.float32(0.5) - (scene.start[0] + direction_x * moved_F) * width
    y = (
        np.arange(height, dtype=np.float32)[:, None]
        + np.float32(0.5)
        - (scene.start[1] + direction_y * moved_F) * height
    )
    radius = np.float32(scene.radius * min(height, width))
    x, y = x.astype(np.float32), y.astype(np.float32)
    cover = np.clip(signed_distance(attributes.shape, x, y, radius) + np.float32(0.5), 0, 1)
    return np.broadcast_to(cover, (num_frames, height, width))
