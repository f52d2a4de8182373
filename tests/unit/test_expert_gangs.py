"""Gangs that hold one expert each, of a nano-sized model of two: together they make the clip of a gang with both."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from gang_orders import Recorder, frames_of, spec_of
from PIL import Image
from two_experts import BOUNDARY, write_two_experts

from farm.errors import InputError, ModelError, RankLostError
from farm.parallelism import ONE_RANK, ParallelPlan
from farm.sampler_state import misfit, read_header
from farm.workers.engine import WAN_BACKEND, CheckpointPolicy, ClipText, Experts, ModelPlan, Order
from farm.workers.gang import Gang, GangTiming
from farm.workers.wan import WanBackend
from farm.workers.wan_render import open_render

TIMING = GangTiming(floor_s=60, first_s=120, load_s=200)
PROMPT = "a red circle moving right on a blue background"
SPEC: dict[str, Any] = {
    "width": 64, "height": 48, "render_width": 64, "render_height": 48, "num_frames": 13, "num_inference_steps": 8,
    "solver": "unipc", "shift": 3.0,
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_two_experts(tmp_path_factory.mktemp("models") / "two")


@pytest.fixture(scope="module")
def text(folder: Path) -> ClipText:
    positive, negative = WanBackend().open_text(plan_of(folder, "all")).encode([PROMPT, ""])
    return ClipText(positive=positive, negative=negative)


@pytest.fixture(params=[ONE_RANK, ParallelPlan(ulysses_degree=2)], ids=str)
def gangs(request: pytest.FixtureRequest, folder: Path, tmp_path: Path) -> Iterator[dict[str, Gang]]:
    names: tuple[Experts, ...] = ("all", "high", "low")
    found = {
        name: Gang(plan_of(folder, name, parallel=request.param), backend=WAN_BACKEND, folder=tmp_path, timing=TIMING)
        for name in names
    }
    yield found
    for gang in found.values():
        gang.close()


def plan_of(folder: Path, experts: Experts, **more: Any) -> ModelPlan:
    values: dict[str, Any] = {
        "name": "two", "path": str(folder), "fingerprint": "f" * 64, "dtype": "float32", "device": "cpu", "threads": 1,
        "boundary": BOUNDARY,
    }  # fmt: skip
    return ModelPlan(**(values | more), experts=experts)


def order_of(text: ClipText, **more: Any) -> Order:
    return Order(spec=spec_of(PROMPT, **SPEC), text=text, **more)


@pytest.mark.parametrize(("experts", "held"), [("high", (True, False)), ("low", (False, True)), ("all", (True, True))])
def test_an_engine_holds_its_experts_alone(folder: Path, experts: Experts, held: tuple[bool, bool]) -> None:
    pipeline = open_render(plan_of(folder, experts), None)._pipeline
    assert (pipeline.dit is not None, pipeline.low_dit is not None) == held


def test_experts_that_change_places_elsewhere_are_refused(folder: Path) -> None:
    with pytest.raises(ModelError, match=r"change places at 0\.875, and were to at 0\.5"):
        open_render(plan_of(folder, "high", boundary=0.5), None)


def test_a_clip_handed_over_has_the_same_bytes(gangs: dict[str, Gang], text: ClipText) -> None:
    order, whole, half = order_of(text), Recorder(), Recorder()
    expected = frames_of(gangs["all"], order, whole)
    assert list(gangs["high"].render(order, half)) == []
    (state,) = half.states
    low = gangs["low"]
    assert 0 < state.step < 8
    assert half.steps == whole.steps[: state.step]
    assert misfit(read_header(state.data), order.spec, low.execution(order.spec)) is None
    assert np.array_equal(frames_of(low, order_of(text, state=state)), expected)
    with pytest.raises(InputError, match="the low-noise expert begins after"):
        frames_of(low, order)


def test_a_killed_rank_goes_on_and_hands_over(folder: Path, tmp_path: Path, text: ClipText) -> None:
    """Of a long clip, so that the kill meets it at work."""
    long = Order(spec=spec_of(PROMPT, **{**SPEC, "num_inference_steps": 100}), text=text)
    high, low, alone = (
        Gang(plan_of(folder, experts), backend=WAN_BACKEND, folder=tmp_path, timing=TIMING)
        for experts in ("high", "low", "all")
    )
    with closing(high), closing(low), closing(alone):
        high.start()
        (child,) = high._ranks._nursery.processes.values()  # type: ignore[attr-defined]
        victim = psutil.Process(child.process.pid)
        killed = Recorder(at_step=lambda done: victim.kill() if done == 3 else None)
        with pytest.raises(RankLostError):
            list(high.render(replace(long, policy=CheckpointPolicy(every_steps=1)), killed))
        again = Recorder()
        list(high.render(replace(long, state=killed.states[-1]), again))
        assert again.steps[0][0] == killed.states[-1].step + 1
        frames = frames_of(low, replace(long, state=again.states[-1]))
        assert np.array_equal(frames, frames_of(alone, long))


def test_a_first_frame_is_known_to_both_experts(folder: Path, text: ClipText) -> None:
    picture = io.BytesIO()
    Image.new("RGB", (64, 48), "navy").save(picture, "PNG")
    order = order_of(text, image=picture.getvalue())
    high, low, both = (open_render(plan_of(folder, experts), None) for experts in ("high", "low", "all"))
    half = Recorder()
    assert list(high.render(order, half)) == []
    frames = frames_of(low, order_of(text, image=order.image, state=half.states[-1]))
    assert np.array_equal(frames, frames_of(both, order))
