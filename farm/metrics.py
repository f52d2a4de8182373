"""The farm's metric series, as data: whoever exports them, and every dashboard and alert, takes the names from here.

In Ray's workers they go through `ray.util.metrics` (`farm.workers.ray_metrics`) and reach Prometheus as
`ray_farm_*`, which the scrape configuration relabels to `farm_*`; those of `RUN_SERIES` are a driver's own, exported by
`farm.exporting`. Names do not end in `_total`: exporters append it. A clip's id is never a label.

Ray passes histograms on as counts per bucket, and their sums are made up from the buckets' middles: quantiles are as
good as the buckets are fine, and whatever is to be added up exactly has a counter.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from farm.errors import (
    HangError,
    InputError,
    LeaderLostError,
    MemoryExhaustedError,
    NotFiniteError,
    RankLostError,
    TextError,
)

# From a clip of the nano model to one of many minutes; each bound 1.4 to 1.7 times the one before.
SECONDS = (
    *(0.1, 0.15, 0.25, 0.4, 0.6, 1.0, 1.5, 2.5, 4.0, 6.0, 10.0, 15.0, 25.0, 40.0, 60.0),
    *(90.0, 150.0, 240.0, 360.0, 600.0, 900.0, 1500.0, 2400.0, 3600.0, 5400.0),
)
STEP_SECONDS = (0.002, 0.004, 0.007, 0.012, 0.02, 0.03, 0.05, 0.08, 0.12, 0.2, 0.3, 0.5, 0.8, 1.2, *SECONDS[6:17])

STAGES = ("input", "denoise", "decode", "encode", "publish")
"""Of a clip, in a gang's hands; "text" comes before."""

GIVEN_UP_FOR = (
    InputError.__name__,
    TextError.__name__,
    NotFiniteError.__name__,
    MemoryExhaustedError.__name__,
    RankLostError.__name__,
    HangError.__name__,
    LeaderLostError.__name__,
)
"""Classes of faults that usually end a clip."""

# Online jobs come in shapes of anybody's choice, and each has its series: beyond so many they share one.
MAX_SHAPES = 24
OTHER_SHAPE = "other"


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
STAGE_WORK = Series(
    name="farm_stage_work_seconds",
    kind="counter",
    about="The same seconds added up, of committed clips: what gangs spend their time on.",
    labels=("stage", "model"),
)
STEP_TIMES = Series(
    name="farm_step_seconds",
    kind="histogram",
    about="Time of one denoising step, by the clip's shape (WxHxF) and the ranks that share it.",
    labels=("model", "shape", "degree"),
    buckets=STEP_SECONDS,
)
FRAMES = Series(name="farm_frames", kind="counter", about="Frames of finished video.", labels=("model",))
DENOISE_STEPS = Series(name="farm_denoise_steps", kind="counter", about="Denoising steps done.", labels=("model",))
LOST_STEPS = Series(
    name="farm_lost_steps",
    kind="counter",
    about="Denoising steps that a fault made void, so that they are computed twice.",
    labels=("model",),
)
RESUMES = Series(name="farm_resumes", kind="counter", about="Clips that went on from a kept state.", labels=("model",))
DEAD_LETTERS = Series(
    name="farm_dead_letters",
    kind="counter",
    about="Clips that were given up, by the class of what was the matter.",
    labels=("error_class", "model"),
)
GANG_REBUILDS = Series(
    name="farm_gang_rebuilds",
    kind="counter",
    about="Gangs that broke, by the class of what broke them; each is built anew at its next clip.",
    labels=("reason",),
)
DEVICE_SECONDS = Series(
    name="farm_device_seconds",
    kind="counter",
    about="Seconds that devices spent on clips that were made.",
    labels=("device", "model"),
)
COST = Series(
    name="farm_cost",
    kind="counter",
    about="What those seconds cost, where the price table knows the device.",
    labels=("device", "model", "currency"),
)
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
RENDERERS = Series(
    name="farm_renderers",
    kind="gauge",
    about="Online renderers that the dispatcher has heard of lately, by what they do (busy, idle).",
    labels=("state", "model"),
)
JOB_WAIT_SECONDS = Series(
    name="farm_job_wait_seconds",
    kind="histogram",
    about="From an online job's submission to its claim by a renderer.",
    labels=("model",),
    buckets=SECONDS,
)
JOB_SECONDS = Series(
    name="farm_job_seconds",
    kind="histogram",
    about="From an online job's submission to its end, by how it ended (completed, answered, failed, cancelled).",
    labels=("status", "model"),
    buckets=SECONDS,
)
SUBMISSIONS = Series(
    name="farm_submissions",
    kind="counter",
    about="Requests for a video, by what became of them (queued, answered, repeated, limited).",
    labels=("result",),
)
GANGS = Series(
    name="farm_gangs",
    kind="gauge",
    about="Gangs by what they do, as each one's leader says (starting, idle, rendering).",
    labels=("state", "model"),
)
DEVICES = Series(
    name="farm_devices",
    kind="gauge",
    about="Devices (ranks) of those gangs, by what their gang does.",
    labels=("state", "model"),
)
RUN_CLIPS = Series(name="farm_run_clips", kind="gauge", about="Clips of a run.", labels=("run", "manifest"))
RUN_DONE = Series(name="farm_run_done", kind="gauge", about="Those that are committed.", labels=("run", "manifest"))
RUN_FAILED = Series(name="farm_run_failed", kind="gauge", about="Those that were given up.", labels=("run", "manifest"))
RUN_ETA_SECONDS = Series(
    name="farm_run_eta_seconds",
    kind="gauge",
    about="Seconds until none is left at the speed of the last ten minutes; absent before the first clip.",
    labels=("run", "manifest"),
)
RUN_LAST_END = Series(
    name="farm_run_last_end_timestamp_seconds",
    kind="gauge",
    about="When a clip of the run last ended, or its driver began.",
    labels=("run", "manifest"),
)

SERIES: Mapping[str, Series] = {
    series.name: series
    for series in (
        CLIPS,
        CLIP_RENDER_SECONDS,
        VIDEO_SECONDS,
        STAGE_SECONDS,
        STAGE_WORK,
        STEP_TIMES,
        FRAMES,
        DENOISE_STEPS,
        LOST_STEPS,
        RESUMES,
        DEAD_LETTERS,
        GANG_REBUILDS,
        DEVICE_SECONDS,
        COST,
        PUBLISH_CONFLICTS,
        EMBEDDING_CACHE,
        QUEUE_CLIPS,
        BACKLOG_SECONDS,
        RENDERERS,
        JOB_WAIT_SECONDS,
        JOB_SECONDS,
        SUBMISSIONS,
        GANGS,
        DEVICES,
    )
}
"""What Ray's workers export."""

RUN_SERIES: Mapping[str, Series] = {
    series.name: series for series in (RUN_CLIPS, RUN_DONE, RUN_FAILED, RUN_ETA_SECONDS, RUN_LAST_END)
}
"""What the process that drives a run exports itself. No name is in both."""


class Meter(Protocol):
    """Where measurements go."""

    def record(self, series: Series, value: float = 1.0, **labels: str) -> None:
        """Add to a counter, put a value into a histogram, or set a gauge to it.

        `labels` are all of the series', and no others.
        """

    def begin(self, series: Series, **labels: str) -> None:
        """Have a counter be there with nothing counted, so that its first event shows as an increase."""


class NoMeter:
    """Measures nothing: for renders outside Ray and for tests."""

    def record(self, series: Series, value: float = 1.0, **labels: str) -> None:
        pass

    def begin(self, series: Series, **labels: str) -> None:
        pass


def begin_counters(meter: Meter, *, model: str) -> None:
    """What will be counted of that model's clips, as far as it is known before the first of them."""
    for status in ("committed", "existing", "lost", "failed"):
        meter.begin(CLIPS, status=status, model=model)
    for error_class in GIVEN_UP_FOR:
        meter.begin(DEAD_LETTERS, error_class=error_class, model=model)
    for series in (VIDEO_SECONDS, FRAMES, DENOISE_STEPS, LOST_STEPS, RESUMES):
        meter.begin(series, model=model)
    for stage in STAGES:
        meter.begin(STAGE_WORK, stage=stage, model=model)
    meter.begin(PUBLISH_CONFLICTS)


class Shapes:
    """Names shapes for labels; the first `MAX_SHAPES` by their sizes, any others alike."""

    def __init__(self) -> None:
        self._known = set[str]()

    def label(self, *, width: int, height: int, num_frames: int) -> str:
        """As in "832x480x81"."""
        name = f"{width}x{height}x{num_frames}"
        if name not in self._known and len(self._known) >= MAX_SHAPES:
            return OTHER_SHAPE
        self._known.add(name)
        return name
