"""The cost model reproduces the published figures of the official models; a calibration replaces its assumptions."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from farm.calibration import (
    Calibration,
    Measurement,
    assumed_speed,
    calibrate,
    device_kind,
    read_calibration,
    write_calibration,
)
from farm.cost import Fleet, Tally, clip_seconds, cost_of, estimate, work_of
from farm.memory import device_memory, need_of
from farm.models import CARDS, ModelRef
from farm.normalise import normalise
from farm.parallelism import ParallelPlan
from farm.request import RowRequest
from farm.settings import Settings
from farm.spec import ClipSpec, RenderOptions
from farm.storage import MemoryStorage


def spec_of(model: str, **fields: object) -> ClipSpec:
    ref = ModelRef(name=model, path="/m", card=CARDS[model], fingerprint="f")
    request = RowRequest.model_validate({"prompt": "x", **fields})
    return normalise(request, ref, options=RenderOptions(), seed=0)


def tally_of(model: str, num_clips: int = 1, **fields: object) -> Tally:
    spec, tally = spec_of(model, **fields), Tally(card=CARDS[model])
    for _ in range(num_clips):
        tally.add(cost_of(spec, tally.card))
    return tally


@pytest.mark.parametrize(
    ("model", "size", "tokens", "petaflops"),
    [
        ("wan2.1-t2v-1.3b", (832, 480), 32_760, 0.283),
        ("wan2.1-t2v-14b", (832, 480), 32_760, 1.80),
        ("wan2.1-t2v-14b", (1280, 720), 75_600, 6.80),
    ],
)
def test_a_forward_pass_has_the_published_flop(
    model: str, size: tuple[int, int], tokens: int, petaflops: float
) -> None:
    work = work_of(spec_of(model, width=size[0], height=size[1], num_inference_steps=1), CARDS[model])
    assert work.num_tokens == tokens
    assert work.dit_flops == pytest.approx(2 * petaflops * 1e15, rel=0.03)


def test_the_official_h100_run_takes_its_published_time() -> None:
    work = work_of(spec_of("wan2.1-t2v-14b"), CARDS["wan2.1-t2v-14b"])
    seconds = clip_seconds(work, None, Fleet(device="nvidia-h100-80gb-hbm3"))
    assert seconds == pytest.approx(1838, rel=0.05)
    assert 0.95 < work.dit_flops / 370e12 / 1838 < 1.03


def test_without_guidance_a_step_is_one_pass() -> None:
    card = CARDS["nano"]
    guided, plain = work_of(spec_of("nano"), card), work_of(spec_of("nano", guidance_scale=1), card)
    assert guided.dit_flops == 2 * plain.dit_flops
    assert guided.vae_flops == plain.vae_flops > 0


def test_a_crop_pays_for_what_is_rendered() -> None:
    card = CARDS["wan3.0-14b"]
    work = work_of(spec_of("wan3.0-14b", width=1920, height=1080), card)
    assert work.num_tokens == 21 * (1920 // 16) * (1088 // 16)


def test_memory_is_of_the_known_order() -> None:
    def gib(model: str, device: str = "nvidia-h100") -> tuple[float, float]:
        memory = need_of(spec_of(model), CARDS[model]).memory(device)
        return memory.device_bytes / 2**30, memory.encoder_bytes / 2**30

    assert 26 < gib("wan2.1-t2v-14b")[0] < 48
    assert 52 < gib("wan2.2-t2v-a14b")[0] < 72
    assert gib("wan2.1-t2v-1.3b")[0] < 8
    assert 11 < gib("wan2.1-t2v-1.3b")[1] < 13
    on_cpu = need_of(spec_of("nano"), CARDS["nano"]).memory("cpu")
    assert on_cpu.device_bytes == 0
    assert on_cpu.host_bytes < 2 * 2**30


def test_a_gang_divides_activations_but_not_weights() -> None:
    need = need_of(spec_of("wan2.1-t2v-14b"), CARDS["wan2.1-t2v-14b"])
    four, guided = ParallelPlan(ulysses_degree=4), ParallelPlan(cfg_degree=2)
    assert need.rank_bytes(four) == need.weights + need.denoise // 4
    assert need.rank_bytes(guided) == need.rank_bytes()
    assert need.memory("nvidia-h100", parallel=four).device_bytes == need.rank_bytes(four)
    # Ranks of CPUs on one host map one copy of the weights.
    alone, together = need.memory("cpu").host_bytes, need.memory("cpu", parallel=four).host_bytes
    assert together < alone + 4 * 2**30


@pytest.mark.parametrize(
    ("device", "gib"),
    [
        ("nvidia-h100", 80),
        ("nvidia-h100-80gb-hbm3", 80),
        ("nvidia-h100-nvl", 94),
        ("nvidia-a100-sxm4-80gb", 80),
        ("nvidia-a100-80g", 80),
        ("nvidia-geforce-rtx-4090", 24),
        ("nvidia-h1000", None),
        ("abacus", None),
    ],
)
def test_device_memory(device: str, gib: int | None) -> None:
    assert device_memory(device) == (None if gib is None else gib * 2**30)


def test_a_gang_is_sooner_done_and_takes_more_device_time() -> None:
    settings, tallies = Settings(prices={"nvidia-h100": 3.6}), [tally_of("wan2.1-t2v-14b", 4)]
    alone = estimate(tallies, Fleet(device="nvidia-h100"), calibrations={}, settings=settings)
    fleet = Fleet(device="nvidia-h100", parallel=ParallelPlan(ulysses_degree=8))
    gang = estimate(tallies, fleet, calibrations={}, settings=settings)
    assert alone.wall_seconds is not None
    assert gang.wall_seconds == pytest.approx(alone.wall_seconds * 288 / 1838)
    assert alone.device_seconds is not None
    assert gang.device_seconds == pytest.approx(alone.device_seconds * 2304 / 1838)
    assert gang.cost == pytest.approx((gang.device_seconds or 0) / 1000)
    assert gang.speed_up / gang.parallel.degree == pytest.approx(0.798, abs=0.001)


def test_an_estimate_adds_up() -> None:
    settings = Settings(prices={"nvidia-h100": 3.6})
    one = estimate([tally_of("wan2.1-t2v-14b")], Fleet(device="nvidia-h100"), calibrations={}, settings=settings)
    many = estimate(
        [tally_of("wan2.1-t2v-14b", 8)], Fleet(device="nvidia-h100", num_actors=4), calibrations={}, settings=settings
    )
    assert one.device_seconds is not None
    assert one.cost == pytest.approx(one.device_seconds / 1000)
    assert many.device_seconds == pytest.approx(8 * one.device_seconds)
    assert many.wall_seconds == pytest.approx(2 * one.device_seconds)
    assert (many.num_clips, many.is_measured, many.memory) == (8, False, one.memory)
    start = datetime(2030, 1, 1, tzinfo=UTC)
    assert one.finish_at(start) is not None
    assert (one.finish_at(start) or start) > start


def test_of_an_unknown_device_there_are_flop_but_no_seconds() -> None:
    found = estimate([tally_of("nano")], Fleet(device="abacus"), calibrations={}, settings=Settings())
    assert found.flops > 0
    assert (found.device_seconds, found.wall_seconds, found.cost) == (None, None, None)
    assert found.finish_at(datetime.now(UTC)) is None


def test_nothing_left_costs_nothing() -> None:
    found = estimate([Tally(card=CARDS["nano"])], Fleet(), calibrations={}, settings=Settings())
    assert (found.num_clips, found.device_seconds, found.cost, found.flops) == (0, 0.0, 0.0, 0.0)


def test_a_calibration_predicts_the_clips_it_was_measured_on() -> None:
    card = CARDS["nano"]
    work = work_of(spec_of("nano"), card)
    clips = [
        Measurement(
            dit_flops=work.dit_flops,
            vae_flops=work.vae_flops,
            denoise_seconds=d,
            decode_seconds=0.5,
            device_seconds=d + 1,
        )
        for d in (1.0, 2.0, 3.0)
    ]
    found = calibrate(clips, device="cpu", model="nano", load_seconds=4.0)
    assert found is not None
    assert clip_seconds(work, found, Fleet()) == pytest.approx(3.0)
    total = estimate([tally_of("nano", 10)], Fleet(num_actors=2), calibrations={"nano": found}, settings=Settings())
    assert total.device_seconds == pytest.approx(30.0)
    assert total.wall_seconds == pytest.approx(15.0 + 4.0)
    assert total.is_measured


def test_no_clips_calibrate_nothing() -> None:
    assert calibrate([], device="cpu", model="nano", load_seconds=0.0) is None


def test_calibrations_are_kept_per_device_and_model(tmp_path: Path) -> None:
    storage = MemoryStorage(str(tmp_path))
    kept = Calibration(
        device="NVIDIA H100 NVL", model="nano", dit_flops_per_second=1e12, vae_flops_per_second=1e11,
        overhead_seconds=0.1, load_seconds=3.0, num_clips=5,
    )  # fmt: skip
    write_calibration(storage, kept)
    assert read_calibration(storage, "nvidia-h100-nvl", model="nano") == kept
    assert read_calibration(storage, "cpu", model="nano") is None
    storage.replace("calibration/cpu/nano.json", b'{"device": "cpu"}')
    assert read_calibration(storage, "cpu", model="nano") is None


def test_device_names_become_kinds() -> None:
    assert device_kind("NVIDIA GeForce RTX 4090") == "nvidia-geforce-rtx-4090"
    assert device_kind("../x/..") == "x"
    assert assumed_speed("nvidia-h100-80gb-hbm3") == assumed_speed("nvidia-h100")
    assert assumed_speed("nvidia-h1000") is None
