"""What the dispatcher tells of its queue: whoever scales, refuses, draws or waits takes it from here.

Two kinds of seconds: those of a *gang* (wall time on one renderer) and those of *devices* (gang seconds times ranks).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from farm.metrics import BACKLOG_SECONDS, QUEUE_CLIPS, RENDERERS, Meter
from farm.queue.job import Status


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Where one job stands, as far as the dispatcher has heard. Not durable: the storage has the last word.

    Args:
        version: another number after each change (never one seen before); position and estimates alone change none.
        position: how many jobs of its model are expected to begin before it; None once it has begun.
        starts_in_s: None once it has begun, or where no end is known of what is before it.
        ends_in_s: seconds until its record; None where it has ended.
        step: denoising steps done, of `num_steps`; both None before the first report.
        preview: the newest picture (webp), after step `preview_step`.
        renderer: who is at it; None also where another dispatcher's renderer is.
        is_cancelling: it is to stop at its next step.
    """

    job_id: str
    version: int
    status: Status
    model: str
    position: int | None = None
    starts_in_s: float | None = None
    ends_in_s: float | None = None
    step: int | None = None
    num_steps: int | None = None
    preview: bytes | None = None
    preview_step: int | None = None
    renderer: str | None = None
    is_cancelling: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RendererState:
    """One renderer that was heard of within the last seconds."""

    name: str
    model: str
    job_id: str | None
    step: int | None = None
    num_steps: int | None = None

    @property
    def is_busy(self) -> bool:
        return self.job_id is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelBacklog:
    """The queue of one model.

    Args:
        num_queued: not begun, those that wait for another job of the same clip included.
        num_running: begun, also by renderers of another dispatcher.
        num_renderers: heard of within the last seconds.
        num_busy: those of them that are at a job.
        seconds: of one gang, for all that is queued and the rest of what runs: what autoscaling divides by its target.
        device_seconds: the same of all its ranks.
        wait_s: how long a job that came now would wait for its start, by what is at work now (one renderer at least).
        clips_per_minute: made lately, answers from the ledger left out.
    """

    model: str
    num_queued: int
    num_running: int
    num_renderers: int
    num_busy: int
    seconds: float
    device_seconds: float
    wait_s: float
    clips_per_minute: float


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnerBacklog:
    """What one project, or one key, has in the queue, over all models.

    Args:
        device_seconds: as estimated, of what has not begun.
    """

    num_queued: int
    num_running: int
    device_seconds: float

    @property
    def num_open(self) -> int:
        return self.num_queued + self.num_running


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """That nothing is handed out: who said so, and when (ISO 8601)."""

    by: str
    at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Backlog:
    """The whole queue at one moment. Every model of the configuration is there, empty or not.

    Args:
        projects, keys: those with open jobs, by project and by key id.
    """

    models: Mapping[str, ModelBacklog]
    projects: Mapping[str, OwnerBacklog]
    keys: Mapping[str, OwnerBacklog]
    renderers: tuple[RendererState, ...]
    pause: Pause | None = None

    @property
    def device_seconds(self) -> float:
        """Of all models: what a maximum queue is held against."""
        return sum(model.device_seconds for model in self.models.values())


def measure(backlog: Backlog, meter: Meter) -> None:
    """Put the gauges where they stand now."""
    for name, model in backlog.models.items():
        meter.record(QUEUE_CLIPS, model.num_queued, state="queued", model=name)
        meter.record(QUEUE_CLIPS, model.num_running, state="in_progress", model=name)
        meter.record(BACKLOG_SECONDS, model.seconds, model=name)
        meter.record(RENDERERS, model.num_busy, state="busy", model=name)
        meter.record(RENDERERS, model.num_renderers - model.num_busy, state="idle", model=name)
