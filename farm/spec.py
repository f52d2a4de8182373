"""ClipSpec: everything that was asked of one clip, with nothing left to default; its hash is the clip's name.

What is in here decides pixels or bytes. How it was executed (device, degree, threads ...) belongs to the record.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

# Raised only when the same spec gives other pixels than before: every clip then gets a new name and is rendered anew.
RENDER_VERSION = 1

CLIP_ID_LENGTH = 32

Profile = Literal["official", "diffusers"]
Codec = Literal["h264", "av1", "lossless"]
DType = Literal["float32", "bfloat16"]
Solver = Literal["unipc", "euler"]
SOLVERS: tuple[str, ...] = get_args(Solver)

_FROZEN = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, strict=True)


class AssetRef(BaseModel):
    """An input file by content. The URI says where it was found and is no part of a clip's name."""

    model_config = _FROZEN

    uri: str
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class ClipSpec(BaseModel):
    """A request in its one normal form. Sizes in pixels.

    `render_width` x `render_height` is what the model makes; the finished video is cut out of its middle as
    `width` x `height` (equal to it but for a card's named sizes). `model` is the fingerprint of all its weights.
    """

    model_config = _FROZEN

    prompt: str
    negative_prompt: str
    seed: int = Field(ge=0, lt=2**63)
    width: int = Field(gt=0)
    height: int = Field(gt=0)
    render_width: int = Field(gt=0)
    render_height: int = Field(gt=0)
    num_frames: int = Field(gt=0)
    fps: int = Field(gt=0)
    num_inference_steps: int = Field(gt=0)
    guidance_high: float
    guidance_low: float
    shift: float
    solver: Solver
    profile: Profile
    image: AssetRef | None = None
    model: str
    dtype: DType
    codec: Codec
    render_version: int = RENDER_VERSION

    @property
    def clip_id(self) -> str:
        """32 hex characters, equal for equal requests on any machine."""
        asked = self._present()
        if self.image is not None:
            asked["image"] = self.image.sha256
        return hashlib.sha256(_compact(asked).encode()).hexdigest()[:CLIP_ID_LENGTH]

    @property
    def is_guided(self) -> bool:
        """Whether a step needs a second forward pass, for the negative prompt."""
        return self.guidance_high != 1.0 or self.guidance_low != 1.0

    def canonical_json(self) -> str:
        """One line of sorted keys without white space. Absent fields are left out, so that new ones rename nothing."""
        return _compact(self._present())

    @classmethod
    def from_json(cls, text: str | bytes) -> ClipSpec:
        """The inverse of `canonical_json`. pydantic.ValidationError where it is none."""
        return cls.model_validate_json(text)

    def _present(self) -> dict[str, Any]:
        return self.model_dump(exclude_none=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderOptions:
    """The flags that decide pixels or bytes. `dtype` None means the model card's, `seed` feeds missing seeds."""

    profile: Profile = "official"
    codec: Codec = "h264"
    dtype: DType | None = None
    seed: int = 0


def _compact(value: dict[str, Any]) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
