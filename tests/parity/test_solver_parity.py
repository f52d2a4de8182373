"""Whole trajectories of both solvers against the schedulers of diffusers, configured as Wan's repositories do."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, UniPCMultistepScheduler
from torch import Tensor

from wan_model.sampling.schedule import schedule
from wan_model.sampling.solvers import SolverState, euler_step, unipc_step


def unipc_scheduler(shift: float) -> UniPCMultistepScheduler:
    return UniPCMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=shift, solver_order=2, predict_x0=True
    )


def toy_velocity(latents: Tensor, timestep: float) -> Tensor:
    """Smooth, and dependent on what a DiT is told: the latents and the timestep."""
    return torch.sin(latents * 1.7 + timestep / 300) + 0.3 * latents.roll(1, dims=-1)


def noise() -> Tensor:
    return torch.randn((2, 4, 3, 4, 6), generator=torch.Generator().manual_seed(11))


STEPS_AND_SHIFTS = [(1, 3.0), (2, 5.0), (3, 3.0), (8, 16.0), (20, 3.0), (50, 5.0), (40, 12.0)]


@pytest.mark.parametrize(("steps", "shift"), STEPS_AND_SHIFTS)
def test_unipc_grid(steps: int, shift: float) -> None:
    theirs = unipc_scheduler(shift)
    theirs.set_timesteps(steps)
    ours = schedule("diffusers", num_inference_steps=steps, shift=shift)
    assert list(ours.sigmas) == theirs.sigmas.tolist()
    assert list(ours.timesteps) == theirs.timesteps.tolist()


@pytest.mark.parametrize(("steps", "shift"), STEPS_AND_SHIFTS)
def test_euler_grid(steps: int, shift: float) -> None:
    theirs = FlowMatchEulerDiscreteScheduler(shift=shift)
    theirs.set_timesteps(steps)
    ours = schedule("diffusers", num_inference_steps=steps, shift=shift, solver="euler")
    torch.testing.assert_close(torch.tensor(ours.sigmas), theirs.sigmas, atol=1e-7, rtol=1e-6)
    torch.testing.assert_close(torch.tensor(ours.timesteps), theirs.timesteps, atol=1e-4, rtol=1e-6)


@pytest.mark.parametrize(("steps", "shift"), STEPS_AND_SHIFTS)
def test_unipc_trajectory(steps: int, shift: float) -> None:
    theirs, latents = unipc_scheduler(shift), noise()
    theirs.set_timesteps(steps)
    ours, state = schedule("diffusers", num_inference_steps=steps, shift=shift), SolverState(latents=noise())
    for timestep in theirs.timesteps:
        latents = theirs.step(toy_velocity(latents, float(timestep)), timestep, latents, return_dict=False)[0]
        state = unipc_step(ours, state, toy_velocity(state.latents, ours.timesteps[state.step]))
        torch.testing.assert_close(state.latents, latents, atol=3e-5, rtol=0)


@pytest.mark.parametrize(("steps", "shift"), STEPS_AND_SHIFTS)
def test_unipc_trajectory_on_the_official_grid(steps: int, shift: float) -> None:
    ours, state, latents = (
        schedule("official", num_inference_steps=steps, shift=shift),
        SolverState(latents=noise()),
        noise(),
    )
    theirs = unipc_scheduler(1.0)
    theirs.set_timesteps(sigmas=np.array(ours.sigmas[:-1]))
    for index, told in enumerate(ours.timesteps):
        latents = theirs.step(toy_velocity(latents, told), theirs.timesteps[index], latents, return_dict=False)[0]
        state = unipc_step(ours, state, toy_velocity(state.latents, told))
        torch.testing.assert_close(state.latents, latents, atol=3e-5, rtol=0)


@pytest.mark.parametrize(("steps", "shift"), STEPS_AND_SHIFTS)
def test_euler_trajectory(steps: int, shift: float) -> None:
    theirs, latents = FlowMatchEulerDiscreteScheduler(shift=shift), noise()
    theirs.set_timesteps(steps)
    ours = schedule("diffusers", num_inference_steps=steps, shift=shift, solver="euler")
    state = SolverState(latents=noise())
    for timestep in theirs.timesteps:
        latents = theirs.step(toy_velocity(latents, float(timestep)), timestep, latents, return_dict=False)[0]
        state = euler_step(ours, state, toy_velocity(state.latents, ours.timesteps[state.step]))
        torch.testing.assert_close(state.latents, latents, atol=3e-5, rtol=0)
