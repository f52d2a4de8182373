"""Solvers: exact on what they must be exact on, and a state that survives storage bit for bit."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from wan_model.errors import CheckpointError
from wan_model.sampling.schedule import Schedule, schedule
from wan_model.sampling.solvers import SOLVER_STEPS, SolverState, unipc_step

SHAPE = (1, 4, 3, 4, 4)


def toy_velocity(latents: Tensor, sigma: float) -> Tensor:
    return torch.tanh(latents * 1.3 + sigma) - 0.4 * latents


def walk(grid: Schedule, state: SolverState, *, solver: str, steps: int) -> SolverState:
    for _ in range(steps):
        state = SOLVER_STEPS[solver](grid, state, toy_velocity(state.latents, grid.sigmas[state.step]))
    return state


def noise() -> Tensor:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("solver", ["unipc", "euler"])
@pytest.mark.parametrize("cut", [1, 2, 5, 8])
def test_a_stored_state_goes_on_bit_for_bit(tmp_path: Path, solver: str, cut: int) -> None:
    grid = schedule("official", num_inference_steps=9, shift=5.0)
    whole = walk(grid, SolverState(latents=noise()), solver=solver, steps=9)
    half = walk(grid, SolverState(latents=noise()), solver=solver, steps=cut)
    save_file(half.to_tensors(), tmp_path / "state.safetensors")
    resumed = SolverState.from_tensors(load_file(tmp_path / "state.safetensors"))
    assert resumed.step == cut
    assert torch.equal(walk(grid, resumed, solver=solver, steps=9 - cut).latents, whole.latents)


@pytest.mark.parametrize("solver", ["unipc", "euler"])
def test_a_constant_clip_is_found_from_any_noise(solver: str) -> None:
    grid = schedule("official", num_inference_steps=6, shift=3.0)
    clip, state = torch.full(SHAPE, 0.25), SolverState(latents=noise())
    for sigma in grid.sigmas[:-1]:
        state = SOLVER_STEPS[solver](grid, state, (state.latents - clip) / sigma)
    torch.testing.assert_close(state.latents, clip, atol=1e-5, rtol=0)


def test_unipc_of_few_steps_beats_euler_of_as_many() -> None:
    fine = schedule("official", num_inference_steps=2000, shift=3.0)
    exact = walk(fine, SolverState(latents=noise()), solver="euler", steps=2000).latents
    grid = schedule("official", num_inference_steps=30, shift=3.0)
    errors = {
        solver: (walk(grid, SolverState(latents=noise()), solver=solver, steps=30).latents - exact).abs().max()
        for solver in ("unipc", "euler")
    }
    assert errors["unipc"] < 0.5 * errors["euler"]


def test_memory_stays_at_two_predictions() -> None:
    grid = schedule("official", num_inference_steps=8, shift=5.0)
    state = walk(grid, SolverState(latents=noise()), solver="unipc", steps=6)
    assert len(state.x0) == 2
    assert state.last_order == 2


def test_the_last_step_is_first_order_and_lands_on_x0() -> None:
    grid = schedule("official", num_inference_steps=4, shift=5.0)
    before = walk(grid, SolverState(latents=noise()), solver="unipc", steps=3)
    velocity = torch.ones(SHAPE)
    last = unipc_step(grid, before, velocity)
    assert last.last_order == 1
    assert torch.equal(last.latents, before.latents - grid.sigmas[3] * velocity)


def test_a_state_without_its_latents_is_refused() -> None:
    with pytest.raises(CheckpointError, match="latents"):
        SolverState.from_tensors({"step": torch.tensor(1), "last_order": torch.tensor(1)})
