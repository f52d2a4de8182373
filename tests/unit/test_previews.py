"""Previews of nano's clips: they show what is coming, cost no byte of it, and a faulty one costs nothing at all."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from gang_orders import PLAN, Recorder, frames_of, order_of
from PIL import Image, ImageSequence

from farm.errors import ClipYielded
from farm.media import encode_preview
from farm.parallelism import ParallelPlan
from farm.workers.engine import WAN_BACKEND, ClipText, ModelPlan, Order, RenderEngine
from farm.workers.fake import FakeRenderEngine
from farm.workers.gang import Gang, GangTiming
from farm.workers.wan import WanBackend

NANO = PLAN | {"name": "nano", "path": "nano"}
PROMPT = "a yellow square moving right on a navy background"
OTHER = "a red circle moving left on a brown background"
SHAPE: dict[str, Any] = {"width": 64, "height": 64, "render_width": 64, "render_height": 64, "num_frames": 17}
STEPS = 10
TIMING = GangTiming(floor_s=60, first_s=120, load_s=200)

Pixels = npt.NDArray[np.uint8]


@pytest.fixture(scope="module")
def texts() -> dict[str, ClipText]:
    states = WanBackend().open_text(ModelPlan(**NANO)).encode([PROMPT, OTHER, ""])
    return {
        prompt: ClipText(positive=found, negative=states[2])
        for prompt, found in zip((PROMPT, OTHER), states, strict=False)
    }


@pytest.fixture(scope="module", params=[1, 2])
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RenderEngine]:
    """nano alone in this process, and as a gang of two ranks."""
    if request.param == 1:
        yield WanBackend().open_render(ModelPlan(**NANO))
        return
    plan = ModelPlan(**NANO, parallel=ParallelPlan(ulysses_degree=2))
    gang = Gang(plan, backend=WAN_BACKEND, folder=tmp_path_factory.mktemp("pair"), timing=TIMING)
    yield gang
    gang.close()


def order(
    texts: dict[str, ClipText], prompt: str = PROMPT, *, preview_every_s: float | None = 0.0, **more: Any
) -> Order:
    asked = order_of(prompt, **SHAPE, num_inference_steps=STEPS, preview_every_s=preview_every_s, **more)
    return Order(spec=asked.spec, text=texts[prompt], preview_every_s=preview_every_s)


def pictures(preview: bytes) -> Pixels:
    """(F, H, W, 3)."""
    with Image.open(io.BytesIO(preview)) as image:
        return np.stack([np.asarray(frame.convert("RGB")) for frame in ImageSequence.Iterator(image)])


def psnr(preview: Pixels, frames: Pixels) -> float:
    """Of the preview's frames against those of the clip that they stand for, at the preview's size."""
    last = np.linspace(0, len(frames) - 1, len(preview)).round().astype(int)
    size = (preview.shape[2], preview.shape[1])
    clip = np.stack([np.asarray(Image.fromarray(frames[number]).resize(size)) for number in last])
    return float(10 * np.log10(255**2 / np.mean((preview.astype(float) - clip) ** 2)))


def num_frames_until_put_down(engine: RenderEngine, asked: Order, watch: Recorder) -> int:
    """Frames that came before the clip was put down; that is wished when the first of them come."""
    num_frames = 0
    try:
        for chunk in engine.render(asked, watch):
            num_frames += len(chunk)
            watch.yield_at = 0
    except ClipYielded:
        return num_frames
    raise AssertionError("it was not put down")


@pytest.mark.parametrize("solver", ["unipc", "euler"])
def test_they_show_what_is_coming(engine: RenderEngine, texts: dict[str, ClipText], solver: str) -> None:
    watch, other = Recorder(), Recorder()
    frames = frames_of(engine, order(texts, solver=solver), watch)
    frames_of(engine, order(texts, OTHER, solver=solver), other)
    assert [step for step, _ in watch.previews][-1] == STEPS
    last, others = pictures(watch.previews[-1][1]), pictures(other.previews[-1][1])
    assert psnr(last, frames) > 16.5  # measured: 18.1, and 9.7 for another clip's; 8x8 pixels a frame hold no more
    assert psnr(last, frames) > psnr(others, frames) + 6
    halfway = next(pictures(image) for step, image in watch.previews if step >= STEPS // 2)
    ground = np.median(halfway.reshape(-1, 3), axis=0)
    assert ground[2] > ground[0] + 30  # navy
    assert max(len(image) for _, image in watch.previews) <= 30_000


def test_they_cost_no_byte(engine: RenderEngine, texts: dict[str, ClipText]) -> None:
    silent, watch = Recorder(), Recorder()
    without = frames_of(engine, order(texts, preview_every_s=None), silent)
    assert np.array_equal(frames_of(engine, order(texts), watch), without)
    assert silent.previews == []
    assert watch.previews


def test_a_faulty_one_costs_nothing_and_is_the_last(
    texts: dict[str, ClipText], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    nano = WanBackend().open_render(ModelPlan(**NANO))
    tries: list[Any] = []

    def broken(frames: Pixels, *, fps: float) -> bytes:
        tries.append(fps)
        raise OSError("no room for a picture")

    monkeypatch.setattr("farm.workers.previewing.encode_preview", broken)
    watch = Recorder()
    with caplog.at_level(logging.ERROR):
        frames = frames_of(nano, order(texts), watch)
    assert len(frames) == 17
    assert len(tries) == 1
    assert watch.previews == []
    assert sum("no more previews" in record.message for record in caplog.records) == 1


def test_one_an_hour_is_the_first_and_the_last(texts: dict[str, ClipText]) -> None:
    watch = Recorder()
    frames_of(WanBackend().open_render(ModelPlan(**NANO)), order(texts, preview_every_s=3600.0), watch)
    assert [step for step, _ in watch.previews] == [1, STEPS]


@pytest.mark.parametrize("degree", [1, 2])
def test_a_gang_passes_them_on(degree: int, tmp_path: Path) -> None:
    plan = ModelPlan(**PLAN, parallel=ParallelPlan(ulysses_degree=degree))
    gang = Gang(plan, backend="farm.workers.fake:FakeBackend", folder=tmp_path, timing=TIMING)
    watch = Recorder()
    frames_of(gang, order_of("a red circle fake:slow=0.4", preview_every_s=0.0), watch)
    gang.close()
    shown = [step for step, _ in watch.previews]
    assert shown == sorted(set(shown))
    assert shown[-1] == 4


def test_a_picture_too_large_loses_detail_and_frames() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (21, 90, 160, 3), dtype=np.uint8)
    small = encode_preview(noise, fps=4)
    assert len(small) < 200_000
    assert 1 <= len(pictures(small)) < 21
    (still,) = pictures(encode_preview(noise[:1, :8, :8], fps=4))
    assert still.shape == (64, 64, 3)


@pytest.mark.parametrize("degree", [1, 2])
def test_a_clip_is_put_down_while_it_is_decoded(degree: int, texts: dict[str, ClipText], tmp_path: Path) -> None:
    """Between two pieces, by all ranks; the state before decoding stands, and goes on to the same bytes."""
    plan = ModelPlan(**NANO, parallel=ParallelPlan(ulysses_degree=degree))
    gang = Gang(plan, backend=WAN_BACKEND, folder=tmp_path, timing=TIMING)
    asked = order(texts, preview_every_s=None)
    whole = frames_of(gang, asked)
    watch = Recorder()
    assert 0 < num_frames_until_put_down(gang, asked, watch) < len(whole)
    (state,) = watch.states
    assert state.step == STEPS
    again = Order(spec=asked.spec, text=asked.text, state=state)
    assert np.array_equal(frames_of(gang, again), whole)
    gang.close()


def test_the_fake_is_put_down_while_it_decodes() -> None:
    watch, engine = Recorder(), FakeRenderEngine(ModelPlan(**PLAN))
    assert 0 < num_frames_until_put_down(engine, order_of("a red circle", num_frames=17), watch) < 17
    assert [state.step for state in watch.states] == [4]
