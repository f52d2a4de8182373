"""Answers in their shapes. OpenAI's fields keep OpenAI's meaning; times are Unix seconds, the rest says its unit."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field

_ANSWER = ConfigDict(protected_namespaces=())

RunStatus = Literal["planned", "running", "paused", "interrupted", "finished", "cancelled"]
Status = Literal["queued", "in_progress", "completed", "failed", "cancelled"]


class FaultAnswer(BaseModel):
    """One thing that is wrong."""

    field: str | None = None
    code: str
    message: str
    advice: str | None = None


class ErrorBody(BaseModel):
    """What went wrong, and what to do. `param` is `field` under OpenAI's name; `errors` has every fault of a form."""

    code: str
    message: str
    type: str
    field: str | None = None
    param: str | None = None
    advice: str | None = None
    errors: list[FaultAnswer] | None = None


class ErrorAnswer(BaseModel):
    """Every error has this shape."""

    error: ErrorBody


class VideoFile(BaseModel):
    """The finished file."""

    size_bytes: int
    sha256: str


class Video(BaseModel):
    """A video that was asked for, and how far it is."""

    model_config = _ANSWER

    id: str
    object: Literal["video"] = "video"
    model: str
    prompt: str
    status: Status
    progress: int = Field(ge=0, le=100)
    created_at: int
    completed_at: int | None = None
    expires_at: int | None = None
    error: FaultAnswer | None = None
    seconds: str = Field(description="True length: frames by frames a second.")
    size: str
    remixed_from_video_id: str | None = None
    width: int
    height: int
    num_frames: int
    fps: int
    num_inference_steps: int
    guidance_scale: float
    guidance_low: float
    shift: float
    solver: str
    seed: int
    negative_prompt: str
    mode: Literal["text", "image"]
    asked: dict[str, Any] = Field(description="size and seconds in the request's own words.")
    adapters: list[dict[str, Any]] = []
    priority: int
    tags: dict[str, str]
    warnings: list[str]
    extends: str | None = None
    from_ledger: bool = Field(description="The clip was there already; nothing was rendered for this request.")
    is_pinned: bool
    ttl: int | None = None
    clip_id: str
    started_at: int | None = None
    step: int | None = None
    num_steps: int | None = None
    preview_step: int | None = Field(None, description="There is a picture of this step at /preview.")
    position: int | None = Field(None, description="Jobs expected to begin before it.")
    wait_s: float | None = Field(None, description="Seconds until it is expected to begin.")
    eta_s: float | None = Field(None, description="Seconds until it is expected to be done.")
    renderer: str | None = None
    device_seconds: float | None = None
    render_seconds: float | None = None
    cost: float | None = None
    currency: str | None = None
    attempts: int | None = None
    video: VideoFile | None = None


class VideoList(BaseModel):
    """A page of videos; `after=last_id` is the next one."""

    object: Literal["list"] = "list"
    data: list[Video]
    first_id: str | None = None
    last_id: str | None = None
    has_more: bool


class VideoDeleted(BaseModel):
    """It is gone."""

    id: str
    object: Literal["video.deleted"] = "video.deleted"
    deleted: bool = True


class MediaLink(BaseModel):
    """An address that needs no key, for a while."""

    url: str
    expires_at: int


class ModelDefaults(BaseModel):
    model_config = _ANSWER

    size: str
    width: int
    height: int
    num_frames: int
    fps: int
    seconds: float
    num_inference_steps: int
    guidance_scale: float
    guidance_low: float
    shift: float
    solver: str
    negative_prompt: str


class ModelLimits(BaseModel):
    max_width: int
    max_height: int
    max_pixels: int
    max_frames: int
    max_seconds: float
    max_steps: int
    max_fps: int
    min_guidance_scale: float
    max_guidance_scale: float
    max_prompt_bytes: int


class ModelAdvice(BaseModel):
    """Beyond these, clips are made with a warning."""

    min_guidance: float
    max_guidance: float
    min_steps: int
    stable_seconds: float


class Model(BaseModel):
    """A model: what it can do, up to where, and what a request gets that says nothing."""

    id: str
    object: Literal["model"] = "model"
    created: int = 0
    owned_by: str = "wanfarm"
    title: str
    is_default: bool
    modes: list[Literal["text", "image"]]
    unsupported: str | None = None
    size_multiple: int
    frame_step: int
    sizes: list[str]
    defaults: ModelDefaults
    limits: ModelLimits
    advice: ModelAdvice
    solvers: list[str]
    adapters: list[dict[str, Any]] = []


class ModelList(BaseModel):
    object: Literal["list"] = "list"
    data: list[Model]


class Stop(Protocol):
    """A standing pause or cancellation; `at` in ISO 8601."""

    @property
    def by(self) -> str: ...

    @property
    def at(self) -> str: ...


class PauseAnswer(BaseModel):
    """Who holds something, since when (seconds since 1970)."""

    by: str
    at: int

    @classmethod
    def of(cls, stop: Stop | None) -> PauseAnswer | None:
        """What the storage says of it."""
        return None if stop is None else cls(by=stop.by, at=int(datetime.fromisoformat(stop.at).timestamp()))


class ModelQueue(BaseModel):
    """One model's queue. `wait_s` is a new job's, until it begins."""

    model: str
    num_queued: int
    num_running: int
    num_renderers: int
    backlog_seconds: float
    backlog_device_seconds: float
    clips_per_minute: float
    wait_s: float


class RendererAnswer(BaseModel):
    name: str
    model: str
    state: Literal["busy", "idle"]
    job_id: str | None = None
    step: int | None = None
    num_steps: int | None = None


class Queue(BaseModel):
    """What waits and what runs. Without its dispatcher the queue goes on, but nobody can say how far."""

    object: Literal["queue"] = "queue"
    dispatcher: Literal["up", "away"]
    paused: PauseAnswer | None = None
    models: list[ModelQueue]
    renderers: list[RendererAnswer]


class Run(BaseModel):
    """A batch run of the same output."""

    run_id: str
    object: Literal["run"] = "run"
    model: str
    manifest_uri: str
    status: RunStatus
    stop: PauseAnswer | None = None
    started_at: int | None = None
    finished_at: int | None = None
    num_rows: int
    num_clips: int
    num_done: int
    num_failed: int
    num_rejected: int
    clips_per_minute: float | None = None
    eta_s: float | None = None
    device_seconds: float | None = None
    cost: float | None = None
    currency: str | None = None
    report_uri: str | None = Field(None, description="Where the page lies that shows the run, once it has ended.")


class RunList(BaseModel):
    object: Literal["list"] = "list"
    data: list[Run]
    has_more: bool = False


class Key(BaseModel):
    """A key as it can be shown: never its text."""

    id: str
    object: Literal["key"] = "key"
    name: str
    project: str
    scopes: list[str]
    created_at: int
    expires_at: int | None = None
    revoked_at: int | None = None
    limits: dict[str, float | int | None] = {}


class NewKey(Key):
    """... but for once."""

    key: str


class KeyList(BaseModel):
    object: Literal["list"] = "list"
    data: list[Key]


class Session(BaseModel):
    """Who the console speaks for."""

    is_key_needed: bool
    is_signed_in: bool
    key_name: str | None = None
    project: str | None = None
    scopes: list[str] = []
    expires_at: int | None = None


class Health(BaseModel):
    status: Literal["ok", "unavailable"]
