"""From a spec to a finished local file: frames stream from the engine to the encoder while they decode.

Nothing here knows the ledger; a render and a check of an old clip make it in the same way.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from farm.errors import InputError, StorageError, TextError
from farm.files import Files
from farm.media import EncodedVideo, Thumbnailer, VideoWriter
from farm.provenance import StageTime, Stint, Worker, video_metadata
from farm.spec import AssetRef, ClipSpec
from farm.workers.engine import ClipText, Frames, Order, RenderEngine, SamplerState, Unwatched, Watch

INPUT_TRIES = 3

ONLINE_RUN = "online"
"""What records and dead letters name as the run of a clip that was asked for online; its `id` is then a job's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """What a gang of the high-noise expert spent on a clip that it handed over; see `farm.workers.work.Outcome`."""

    device_seconds: float
    timings: Mapping[str, float]
    lost_steps: int
    num_resumes: int
    stint: Stint | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipJob:
    """One clip to make. `row` and `id` are the manifest's, for the dead letter; `warnings` go to the record.

    `text` may be why there is none: the clip is then given up. `spent` is None where no other gang has just now done
    its part.
    """

    spec: ClipSpec
    text: ClipText | TextError
    run_id: str
    model_name: str
    model_path: str
    row: int | None = None
    id: str | None = None
    warnings: tuple[str, ...] = ()
    spent: Spent | None = None

    @property
    def states(self) -> ClipText:
        """Of its prompts. Raises the TextError that it has in their place."""
        if isinstance(self.text, TextError):
            raise self.text
        return self.text

    @property
    def job_id(self) -> str | None:
        """Of the online job, None where a manifest asked for the clip."""
        return self.id if self.run_id == ONLINE_RUN else None


@dataclass(slots=True)
class Clock:
    """Seconds per stage of one clip, and when the stages of each try at it began."""

    begun_s: float = field(default_factory=time.monotonic)
    begun_at_s: float = field(default_factory=time.time)
    timings: dict[str, float] = field(default_factory=dict)
    stages: list[StageTime] = field(default_factory=list)
    _first: int = 0

    def begin_try(self) -> None:
        """What is noted from now on belongs to a new try."""
        self._first = len(self.stages)

    @contextmanager
    def stage(self, name: str, *, step: int | None = None) -> Iterator[None]:
        """A stage, or a piece of one, that counts whatever becomes of it."""
        begun_s = time.monotonic()
        try:
            yield
        finally:
            seconds = time.monotonic() - begun_s
            self.timings[name] = self.timings.get(name, 0.0) + seconds
            self.note(name, begun_s, seconds, step=step)

    def note(self, name: str, begun_s: float, seconds: float, *, step: int | None = None) -> None:
        """When a stage of this try was (monotonic); pieces add up behind the first."""
        for number in range(self._first, len(self.stages)):
            noted = self.stages[number]
            if noted.name == name:
                self.stages[number] = noted.model_copy(update={"seconds": noted.seconds + seconds})
                return
        self.stages.append(StageTime(name=name, begun_s=begun_s - self.begun_s, seconds=seconds, step=step))

    def noted(self, name: str) -> StageTime | None:
        """That stage of this try, None where it has not come to it."""
        return next((stage for stage in self.stages[self._first :] if stage.name == name), None)

    def stint(self, worker: Worker) -> Stint:
        """All so far, as records have it."""
        begun_at = datetime.fromtimestamp(self.begun_at_s, UTC).isoformat(timespec="milliseconds")
        places = {"begun_s", "seconds"}
        rounded = [
            stage.model_copy(update={name: round(getattr(stage, name), 4) for name in places}) for stage in self.stages
        ]
        return Stint(worker=worker, begun_at=begun_at, stages=tuple(rounded))

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
    step: int | None

    def stepped(self, done: int, total: int) -> None:
        self.watch.stepped(done, total)
        if done == total:
            seconds = time.monotonic() - self.begun_s
            self.clock.timings["denoise"] = seconds
            self.clock.note("denoise", self.begun_s, seconds, step=self.step)

    def keep(self, state: SamplerState) -> None:
        self.watch.keep(state)

    def preview(self, step: int, image: bytes) -> None:
        self.watch.preview(step, image)

    def should_yield(self) -> bool:
        return self.watch.should_yield()


def _frames(engine: RenderEngine, order: Order, watch: Watch, *, clock: Clock) -> Iterator[Frames]:
    """The engine's chunks. What passes until its last step is denoising, the rest of its time decoding."""
    begun_s, step = time.monotonic(), None if order.state is None else order.state.step
    chunks = iter(engine.render(order, _TimingWatch(watch=watch, clock=clock, begun_s=begun_s, step=step)))
    waited_s, is_whole = 0.0, False
    try:
        while not is_whole:
            asked_s = time.monotonic()
            frames = next(chunks, None)
            waited_s += time.monotonic() - asked_s
            if frames is not None:
                yield frames
            is_whole = frames is None
    finally:
        denoised = clock.noted("denoise")
        denoised_s = 0.0 if denoised is None else denoised.seconds
        spent_s = waited_s if is_whole else time.monotonic() - begun_s
        if denoised is None and step != order.spec.num_inference_steps:
            clock.note("denoise", begun_s, spent_s, step=step)
        else:
            clock.note("decode", begun_s + denoised_s, max(0.0, spent_s - denoised_s))
        if is_whole:
            clock.timings["decode"] = max(0.0, waited_s - denoised_s)


def _cut_out(frames_FHWC: Frames, spec: ClipSpec) -> Frames:
    """The middle of what was rendered, as large as was asked for."""
    top = (spec.render_height - spec.height) // 2
    left = (spec.render_width - spec.width) // 2
    return frames_FHWC[:, top : top + spec.height, left : left + spec.width]
