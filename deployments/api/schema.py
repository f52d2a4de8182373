"""Requests as the OpenAPI document shows them. They are read by `deployments.api.asked`, which names all faults."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from deployments.api.fields import MAX_TAG_CHARS, MAX_TAGS, MAX_TTL_S, MIN_TTL_S
from farm.keys import MAX_COUNT, Scope
from farm.normalise import MAX_FPS, MAX_GUIDANCE, MAX_PROMPT_BYTES, MAX_SHIFT, MAX_STEPS

_STRICT = ConfigDict(extra="forbid")
# OpenAI's client sends text.
Length = Annotated[str, Field(pattern=r"^[0-9]{1,5}(\.[0-9]{1,6})?$")] | Annotated[float, Field(gt=0, lt=1e6)]
# The year 9999, after which dates have no name.
MAX_TIME = 253_370_764_800
_TEXT = r"^[^\x00-\x08\x0b\x0c\x0e-\x1f]*$"


class ImageReference(BaseModel):
    """A picture by its address."""

    model_config = _STRICT

    image_url: str = Field(description="https:// or data: address of a PNG, JPEG or WebP picture.")


class AdapterChoice(BaseModel):
    """An adapter by name, and how much of it."""

    model_config = _STRICT

    name: str
    scale: float = 1.0


class VideoCreate(BaseModel):
    """A clip to make. What is absent is the model's default (see /v1/models); sizes and lengths are never rounded."""

    model_config = _STRICT

    prompt: str = Field(min_length=1, max_length=MAX_PROMPT_BYTES, pattern=_TEXT, description="What is to be seen.")
    model: str | None = Field(None, max_length=200, description="A model's name; the first of /v1/models if absent.")
    seconds: Length | None = Field(
        None, description="Length; means num_frames = k * round(seconds * fps / k) + 1, k the model's frame step."
    )
    size: str | None = Field(None, pattern=r"^[0-9]{1,5}x[0-9]{1,5}$", description="Width x height in pixels.")
    input_reference: str | ImageReference | None = Field(
        None, description="First frame: a file in a form, or an address."
    )
    image: str | None = Field(None, description="First frame, by the manifest's name: an address, or a file in a form.")
    width: int | None = Field(None, gt=0)
    height: int | None = Field(None, gt=0)
    num_frames: int | None = Field(None, gt=0)
    fps: int | None = Field(None, ge=1, le=MAX_FPS)
    num_inference_steps: int | None = Field(None, ge=1, le=MAX_STEPS)
    guidance_scale: float | None = Field(None, ge=0, le=MAX_GUIDANCE)
    guidance_high: float | None = Field(
        None, ge=0, le=MAX_GUIDANCE, description="Of a two-expert model's first expert."
    )
    guidance_low: float | None = Field(None, ge=0, le=MAX_GUIDANCE, description="Of its second.")
    shift: float | None = Field(None, gt=0, le=MAX_SHIFT)
    solver: str | None = Field(None, description="unipc or euler.")
    seed: int | None = Field(None, ge=0, lt=2**63, description="Random, and told in the answer, if absent.")
    negative_prompt: str | None = Field(None, max_length=MAX_PROMPT_BYTES, pattern=_TEXT)
    priority: int | None = Field(None, ge=-100, le=100, description="Higher goes first within the project.")
    tags: dict[str, str] | None = Field(
        None, description=f"At most {MAX_TAGS}, names and values of at most {MAX_TAG_CHARS} characters."
    )
    ttl: int | None = Field(
        None, ge=MIN_TTL_S, le=MAX_TTL_S, description="Seconds after its end for which the video is kept."
    )
    is_pinned: bool | None = Field(None, description="Keep it whatever its age.")
    last_image: str | None = Field(None, description="Where the model makes clips between two frames.")
    video: str | None = Field(None, description="Where the model changes videos.")
    strength: float | None = Field(None, description="How much of the video is changed.")
    control: str | None = Field(None, description="Where the model is steered by a control video.")
    control_kind: str | None = Field(None, description="depth, pose, edge or reference.")
    adapters: list[AdapterChoice] | None = Field(None, description="Where the model takes adapters.")


class VideoRemix(BaseModel):
    """The same clip with other words: settings, seed and size stay."""

    model_config = _STRICT

    prompt: str = Field(min_length=1, max_length=MAX_PROMPT_BYTES, pattern=_TEXT)


class VideoReference(BaseModel):
    """One of this project's videos."""

    model_config = _STRICT

    id: str


class VideoExtend(BaseModel):
    """A clip that begins with the last frame of a finished one."""

    model_config = _STRICT

    prompt: str = Field(min_length=1, max_length=MAX_PROMPT_BYTES, pattern=_TEXT)
    seconds: Length | None = Field(None, description="Of the new clip; as long as the first one if absent.")
    num_frames: int | None = Field(None, gt=0)
    seed: int | None = Field(None, ge=0, lt=2**63)


class VideoExtension(VideoExtend):
    """The same, in the words of OpenAI's client."""

    video: VideoReference


class KeyLimits(BaseModel):
    """What a key may do beside what the service allows all; absent means as everybody."""

    model_config = _STRICT

    max_open_jobs: int | None = Field(None, gt=0, le=MAX_COUNT)
    max_queued_device_seconds: float | None = Field(None, gt=0)
    requests_per_minute: int | None = Field(None, gt=0, le=MAX_COUNT)
    weight: float | None = Field(None, gt=0, le=1000, description="Its share beside other keys; 1 if absent.")


class KeyCreate(BaseModel):
    """A key to make. Its text is in the answer, once."""

    model_config = _STRICT

    name: str = Field(min_length=1, max_length=100)
    project: str = Field("default", pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")
    scopes: list[Scope] = Field(["submit", "read"], min_length=1)
    limits: KeyLimits | None = None
    expires_at: int | None = Field(None, gt=0, le=MAX_TIME, description="Seconds since the epoch; never if absent.")


class SessionCreate(BaseModel):
    """A key, for a cookie."""

    model_config = _STRICT

    key: str = Field(min_length=1, max_length=200)


def plain(model: type[BaseModel]) -> dict[str, Any]:
    """The model's JSON Schema with its inner models beside it, under `$defs`."""
    return model.model_json_schema(ref_template="#/components/schemas/{model}")
