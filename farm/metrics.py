"""The farm's metric series, as data: whoever exports them, and every dashboard and alert, takes the names from here.

In Ray's workers they go through `ray.util.metrics` (`farm.workers.ray_metrics`) and reach Prometheus as
`ray_farm_*`, which the scrape configuration relabels to `farm_*`. Names do not end in `_total`: exporters append it.
A clip's id is never a label.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

SECONDS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1200.0, 3600.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """One metric. `buckets` are a histogram's upper bounds, empty for the other kinds."""

    name: str
    kind: Literal["counter", "histogram", "gauge"]
    about: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()


CLIPS = Series(
    name="farm_clips",
    kind="counter",
    about="Clips that left a renderer, by how (committed, existing, lost, failed).",
    labels=("status", "model"),
)
CLIP_RENDER_SECONDS = Series(
    name="farm_clip_render_seconds",
    kind="histogram",
    about="Wall time from a clip's start to its record.",
    labels=("model",),
    buckets=SECONDS,
)
VIDEO_SECONDS = Series(name="farm_video_seconds", kind="counter", about="Seconds of finished video.", labels=("model",))
STAGE_SECONDS = Series(
    name="farm_stage_seconds",
    kind="histogram",
    about="Wall time of one stage of a clip (input, denoise, decode, encode, publish, text).",
    labels=("stage",),
    buckets=SECONDS,
)
FRAMES = Series(name="farm_frames", kind="counter", about="Frames of finished video.", labels=("model",))
DENOISE_STEPS = Series(name="farm_denoise_steps", kind="counter", about="Denoising steps done.", labels=("model",))
LOST_STEPS = Series(
    name="farm_lost_steps",
    kind="counter",
    about="Denoising steps that a fault made void, so that they are computed twice.",
    labels=("model",),
)
GANG_REBUILDS = Series(
    name="farm_gang_rebuilds",
    kind="counter",
    about="Gangs that broke, by the class of what broke them; each is built anew at its next clip.",
    labels=("reason",),
)
DEVICE_SECONDS = Series(
    name="farm_device_seconds", kind="counter", about="Seconds that devices spent on clips.", labels=("device",)
)
COST = Series(name="farm_cost", kind="counter", about="What those seconds cost.", labels=("device",))
PUBLISH_CONFLICTS = Series(
    name="farm_publish_conflicts", kind="counter", about="Clips whose record another worker had put first."
)
EMBEDDING_CACHE = Series(
    name="farm_embedding_cache",
    kind="counter",
    about="Prompts by where their states came from (memory, storage, encoded).",
    labels=("result",),
)
QUEUE_CLIPS = Series(
    name="farm_queue_clips",
    kind="gauge",
    about="Online jobs by where they stand (queued, in_progress).",
    labels=("state", "model"),
)
BACKLOG_SECONDS = Series(
    name="farm_backlog_seconds",
    kind="gauge",
    about="Seconds that one gang would take for all online jobs that have not ended.",
    labels=("model",),
)
GANGS = Series(
    name="farm_gangs",
    kind="gauge",
    about="Online gangs that were heard of lately, by what they do (busy, idle).",
    labels=("state", "model"),
)

SERIES: Mapping[str, Series] = {
    series.name: series
    for series in (
        CLIPS,
        CLIP_RENDER_SECONDS,
        VIDEO_SECONDS,
        STAGE_SECONDS,
        FRAMES,
        DENOISE_STEPS,
        LOST_STEPS,
        GANG_REBUILDS,
        DEVICE_SECONDS,
        COST,
        PUBLISH_CONFLICTS,
        EMBEDDING_CACHE,
        QUEUE_CLIPS,
        BACKLOG_SECONDS,
        GANGS,
    )
}


class Meter(Protocol):
    """Where measurements go."""

    def record(self, series: Series, value: float = 1.0, **labels: str) -> None:
        """Add to a counter, put a value into a histogram, or set a gauge to it.

        `labels` are all of the series', and no others.
        """


class NoMeter:
    """Measures nothing: for renders outside Ray and for tests."""

    def record(self, series: Series, value: float = 1.0, **labels: str) -> None:
        pass
