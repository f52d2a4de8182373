"""Gangs of the real model, the embedded nano: one clip at every degree, states that go on to the same bytes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from gang_orders import Recorder, frames_of, spec_of

from farm.errors import ClipYielded, InputError, RankLostError
from farm.parallelism import ParallelPlan
from farm.sampler_state import misfit, read_header
from farm.workers.engine import WAN_BACKEND, CheckpointPolicy, ClipText, Frames, ModelPlan, Order
from farm.workers.gang import Gang, GangTiming
from farm.workers.wan import WanBackend

TIMING = GangTiming(floor_s=60, first_s=120, load_s=200)
NANO: dict[str, Any] = {
    "name": "nano", "path": "nano", "fingerprint": "f" * 64, "dtype": "float32", "device": "cpu", "threads": 1,
}  # fmt: skip
PROMPT = "a red circle moving right on a blue background"
SPEC: dict[str, Any] = {
    "width": 64, "height": 48, "render_width": 64, "render_height": 48, "num_frames": 13, "num_inference_steps": 5,
    "solver": "unipc",
}  # fmt: skip


@pytest.fixture(scope="module")
def text() -> ClipText:
    positive, negative = WanBackend().open_text(ModelPlan(**NANO)).encode([PROMPT, ""])
    return ClipText(positive=positive, negative=negative)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gang]:
    gang = gang_of(ParallelPlan(), tmp_path_factory.mktemp("alone"))
    yield gang
    gang.close()


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gang]:
    gang = gang_of(ParallelPlan(ulysses_degree=2), tmp_path_factory.mktemp("pair"))
    yield gang
    gang.close()


@pytest.fixture(scope="module")
def reference(alone: Gang, text: ClipText) -> Frames:
    return frames_of(alone, order_of(text))


def gang_of(parallel: ParallelPlan, folder: Path, **more: Any) -> Gang:
    return Gang(ModelPlan(**NANO, parallel=parallel, **more), backend=WAN_BACKEND, folder=folder, timing=TIMING)


def order_of(text: ClipText, *, spec: dict[str, Any] | None = None, **more: Any) -> Order:
    return Order(spec=spec_of(PROMPT, **(SPEC | (spec or {}))), text=text, **more)


def pids(gang: Gang) -> list[int]:
    gang.start()
    return [child.process.pid for child in gang._ranks._nursery.processes.values()]  # type: ignore[attr-defined]


def assert_close(frames: Frames, reference: Frames) -> None:
    """Equal after rounding in 99.99 % of pixels, and nowhere off by more than one level."""
    assert frames.shape == reference.shape == (13, 48, 64, 3)
    assert (frames == reference).mean() >= 0.9999
    assert np.abs(frames.astype(int) - reference).max() <= 1


def test_two_ranks_make_the_clip_of_one(pair: Gang, text: ClipText, reference: Frames) -> None:
    watch = Recorder()
    assert_close(frames_of(pair, order_of(text), watch), reference)
    assert watch.steps == [(step, 5) for step in range(1, 6)]
    assert [state.step for state in watch.states] == [5]
    execution = pair.execution(order_of(text).spec)
    assert (execution.degree, execution.parallel) == (2, "ulysses=2 cfg=1")


def test_a_tame_clip_is_one_ranks_in_strips(pair: Gang, text: ClipText, reference: Frames) -> None:
    assert_close(frames_of(pair, order_of(text, is_tame=True)), reference)
    execution = pair.execution(order_of(text).spec, is_tame=True)
    assert (execution.degree, execution.tiling) == (1, "rows/4")


@pytest.mark.parametrize("name", ["alone", "pair"])
def test_a_kept_state_goes_on_to_the_same_bytes(name: str, text: ClipText, request: pytest.FixtureRequest) -> None:
    gang, watch = request.getfixturevalue(name), Recorder()
    frames = frames_of(gang, order_of(text, policy=CheckpointPolicy(every_steps=2)), watch)
    assert [state.step for state in watch.states] == [2, 4, 5]
    for state in watch.states:
        order = order_of(text, state=state)
        assert misfit(read_header(state.data), order.spec, gang.execution(order.spec)) is None
        assert np.array_equal(frames_of(gang, order), frames)


def test_a_clip_is_put_down_by_all_ranks_at_one_step(pair: Gang, text: ClipText) -> None:
    before, watch = pids(pair), Recorder(yield_at=1)
    long = {"num_inference_steps": 20}
    with pytest.raises(ClipYielded):
        frames_of(pair, order_of(text, spec=long), watch)
    (state,) = watch.states
    assert state.step < 20
    again = frames_of(pair, order_of(text, spec=long, state=state))
    assert np.array_equal(again, frames_of(pair, order_of(text, spec=long)))
    assert pids(pair) == before


def test_what_the_model_cannot_make_is_the_clips_fault(pair: Gang, text: ClipText) -> None:
    before = pids(pair)
    with pytest.raises(InputError, match="the model cannot make this clip"):
        frames_of(pair, order_of(text, spec={"render_width": 60, "width": 60}))
    assert pids(pair) == before


@pytest.mark.parametrize("at", ["denoise", "decode"])
@pytest.mark.parametrize("rank", [0, 1])
def test_a_rank_killed_in_its_work_is_named(pair: Gang, text: ClipText, reference: Frames, at: str, rank: int) -> None:
    victim = psutil.Process(pids(pair)[rank])
    if at == "denoise":
        watch, spec = Recorder(at_step=lambda done: victim.kill() if done == 2 else None), {"num_inference_steps": 50}
        chunks = pair.render(order_of(text, spec=spec), watch)
    else:
        chunks = pair.render(order_of(text, spec={"num_frames": 49}), Recorder())
        next(chunks)
        victim.kill()
    with pytest.raises(RankLostError, match=rf"rank {rank} \(pid {victim.pid}\) was killed by SIGKILL"):
        list(chunks)
    assert_close(frames_of(pair, order_of(text)), reference)


def test_deepspeeds_exchange_moves_the_same_bits(pair: Gang, text: ClipText, tmp_path: Path) -> None:
    gang = gang_of(ParallelPlan(ulysses_degree=2), tmp_path, exchange="deepspeed")
    try:
        assert np.array_equal(frames_of(gang, order_of(text)), frames_of(pair, order_of(text)))
    finally:
        gang.close()
