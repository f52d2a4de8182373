"""A card: what a model can do, up to which limits, with which defaults, and what its makers advise.

The cards themselves stand in `farm.models.catalogue`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from farm.models.dims import ModelDims
from farm.spec import DType

TEXT_TO_VIDEO, IMAGE_TO_VIDEO = "text-to-video", "image-to-video"


@dataclass(frozen=True, slots=True, kw_only=True)
class Defaults:
    """What a clip gets where its row says nothing."""

    width: int
    height: int
    num_frames: int
    fps: int
    num_inference_steps: int
    guidance_high: float
    guidance_low: float
    shift: float
    negative_prompt: str
    solver: str = "unipc"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What is refused. `max_size` bounds what is rendered: its longer side and its area, in either orientation."""

    max_size: tuple[int, int]
    max_seconds: float

    def holds_size(self, width: int, height: int) -> bool:
        """Whether that many pixels may be rendered."""
        return max(width, height) <= max(self.max_size) and width * height <= math.prod(self.max_size)


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """Thresholds beyond which a clip is made as asked, with a warning. Seconds are those of the longest stable clip."""

    min_guidance: float = 5.0
    max_guidance: float = 12.0
    min_steps: int = 20
    stable_seconds: float = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedSize:
    """A size that is no multiple of the model's: rendered larger and cut out of the middle."""

    width: int
    height: int
    render_width: int
    render_height: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """One model as the planner sees it. `unsupported` says why this version cannot render it; None where it can."""

    name: str
    title: str
    dims: ModelDims
    defaults: Defaults
    limits: Limits
    modes: tuple[str, ...] = (TEXT_TO_VIDEO,)
    advice: Advice = Advice()
    named_sizes: tuple[NamedSize, ...] = ()
    dtype: DType = "bfloat16"
    unsupported: str | None = None

    @property
    def size_multiple(self) -> int:
        """Pixels that rendered width and height must be a multiple of."""
        return self.dims.size_multiple

    @property
    def frame_step(self) -> int:
        """n in: the number of frames must be k * n + 1."""
        return self.dims.vae.temporal_stride

    @property
    def max_frames(self) -> int:
        """The longest clip, counted at the card's own fps."""
        return int(self.limits.max_seconds * self.defaults.fps) // self.frame_step * self.frame_step + 1

    def render_size(self, width: int, height: int) -> tuple[int, int]:
        """What is rendered for a video of that size: the same, but for named sizes."""
        for named in self.named_sizes:
            if (named.width, named.height) == (width, height):
                return named.render_width, named.render_height
        return width, height
