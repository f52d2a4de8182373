"""The grids of both profiles, against the numbers of Wan's own scheduler."""

from __future__ import annotations

from itertools import pairwise

import pytest

from wan_model.errors import RequestError
from wan_model.sampling.schedule import schedule


def test_official_grid_of_the_14b_two_expert_model() -> None:
    grid = schedule("official", num_inference_steps=40, shift=12.0)
    assert grid.timesteps[:4] == (999, 997, 995, 993)
    assert grid.timesteps[-3:] == (492, 386, 235)
    assert grid.sigmas[-1] == 0
    assert len(grid.sigmas) == grid.num_steps + 1 == 41


@pytest.mark.parametrize(("profile", "tail"), [("official", (241, 172, 92)), ("diffusers", (244, 175, 96))])
def test_tail_of_fifty_steps_with_shift_five(profile: str, tail: tuple[int, ...]) -> None:
    assert schedule(profile, num_inference_steps=50, shift=5.0).timesteps[-3:] == tail


@pytest.mark.parametrize(
    ("shift", "boundary", "expected"),
    [(12.0, 0.875, 26), (5.0, 0.900, 15)],
    ids=["t2v-a14b", "i2v-a14b"],
)
def test_high_noise_steps_of_forty(shift: float, boundary: float, expected: int) -> None:
    assert schedule("official", num_inference_steps=40, shift=shift).high_noise_steps(boundary) == expected


def test_the_shift_of_converted_repositories_starves_the_high_noise_expert() -> None:
    assert schedule("official", num_inference_steps=40, shift=3.0).high_noise_steps(0.875) == 12
    assert schedule("diffusers", num_inference_steps=40, shift=3.0).high_noise_steps(0.875) == 13


@pytest.mark.parametrize("profile", ["official", "diffusers"])
@pytest.mark.parametrize("solver", ["unipc", "euler"])
@pytest.mark.parametrize("shift", [0.01, 1.0, 1000.0])
def test_sigmas_fall_from_below_one_to_zero(profile: str, solver: str, shift: float) -> None:
    sigmas = schedule(profile, num_inference_steps=7, shift=shift, solver=solver).sigmas
    assert all(before > after for before, after in pairwise(sigmas))
    assert sigmas[0] <= 1


def test_every_fault_is_named_at_once() -> None:
    with pytest.raises(RequestError) as caught:
        schedule("fast", num_inference_steps=0, shift=float("nan"), solver="heun")
    assert len(caught.value.faults) == 4
