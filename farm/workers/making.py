"""From a spec to a finished local file: frames stream from the engine to the encoder while they decode.

Nothing here knows the ledger; a render and a check of an old clip make it in the same way.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from farm.errors import InputError, StorageError
from farm.files import Files
from farm.media import EncodedVideo, Thumbnailer, VideoWriter
from farm.provenance import video_metadata
from farm.spec import AssetRef, ClipSpec
from farm.workers.engine import ClipText, Frames, Order, RenderEngine, SamplerState, Unwatched, Watch

INPUT_TRIES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """What a gang of the high-noise expert spent on a clip that it handed over; see `farm.workers.work.Outcome`."""

    device_seconds: float
    timings: Mapping[str, float]
    lost_steps: int
    num_resumes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipJob:
    """One clip to make. `row` and `id` are the manifest's, for the dead letter; `warnings` go to the record.

    `spent` is None where no other gang has just now done its part.
    """

    spec: ClipSpec
    text: ClipText
    run_id: str
    model_name: str
    model_path: str
    row: int | None = None
    id: str | None = None
    warnings: tuple[str, ...] = ()
    spent: Spent | None = None


@dataclass(slots=True)
class Clock:
    """Seconds per stage of one clip."""

    begun_s: float = field(default_factory=time.monotonic)
    timings: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        begun_s = time.monotonic()
        try:
            yield
        finally:
            self.timings[name] = self.timings.get(name, 0.0) + time.monotonic() - begun_s

    def add(self, timings: Mapping[str, float]) -> None:
        """Count another gang's seconds in."""
        for name, seconds in timings.items():
            self.timings[name] = self.timings.get(name, 0.0) + seconds

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self.begun_s


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeClip:
    """A finished video on the local disk, and its pictures."""

    video: EncodedVideo
    poster: bytes
    strip: bytes


def make_clip(
    job: ClipJob, engine: RenderEngine, order: Order, *, path: Path, clock: Clock, watch: Watch | None = None
) -> MadeClip:
    """Render and encode a clip into `path`, which is removed again if that fails. Raises what the engine raises."""
    spec, pictures = job.spec, Thumbnailer(job.spec.num_frames)
    metadata = video_metadata(spec, model_name=job.model_name)
    size = {"width": spec.width, "height": spec.height}
    with VideoWriter(path, **size, fps=spec.fps, codec=spec.codec, metadata=metadata) as writer:
        for frames in _frames(engine, order, watch or Unwatched(), clock=clock):
            with clock.stage("encode"):
                cut = _cut_out(frames, spec)
                pictures.look(cut)
                writer.write(cut)
        with clock.stage("encode"):
            return MadeClip(video=writer.close(), poster=pictures.poster(), strip=pictures.strip())


def fetch_input(asset: AssetRef, files: Files, *, max_bytes: int) -> bytes:
    """An input's content, which must still be what was asked for. InputError otherwise.

    Its server is not ours: one that stays away must cost its clips, not the run.
    """
    for attempt in range(1, INPUT_TRIES + 1):
        try:
            data = files.read(asset.uri, max_bytes=max_bytes)
            break
        except StorageError as error:
            if attempt == INPUT_TRIES:
                raise InputError(f"the input cannot be read: {error}") from error
            time.sleep(attempt)
    if hashlib.sha256(data).hexdigest() != asset.sha256:
        raise InputError(f"{asset.uri} has changed since the manifest was read: plan it again")
    return data


@dataclass(frozen=True, slots=True, kw_only=True)
class _TimingWatch:
    """Notes when the last step is done, and passes everything on."""

    watch: Watch
    clock: Clock
    begun_s: float

    def stepped(self, done: int, total: int) -> None:
        self.watch.stepped(done, total)
        if done == total:
            self.clock.timings["denoise"] = time.monotonic() - self.begun_s

    def keep(self, state: SamplerState) -> None:
        self.watch.keep(state)

    def preview(self, step: int, image: bytes) -> None:
        self.watch.preview(step, image)

    def should_yield(self) -> bool:
        return self.watch.should_yield()


def _frames(engine: RenderEngine, order: Order, watch: Watch, *, clock: Clock) -> Iterator[Frames]:
    """The engine's chunks. What passes until its last step is denoising, the rest of its time decoding."""
    chunks = iter(engine.render(order, _TimingWatch(watch=watch, clock=clock, begun_s=time.monotonic())))
    waited_s = 0.0
    while True:
        asked_s = time.monotonic()
        frames = next(chunks, None)
        waited_s += time.monotonic() - asked_s
        if frames is None:
            clock.timings["decode"] = max(0.0, waited_s - clock.timings.get("denoise", 0.0))
            return
        yield frames


def _cut_out(frames_FHWC: Frames, spec: ClipSpec) -> Frames:
    """The middle of what was rendered, as large as was asked for."""
    top = (spec.render_height - spec.height) // 2
    left = (spec.render_width - spec.width) // 2
    return frames_FHWC[:, top : top + spec.height, left : left + spec.width]
