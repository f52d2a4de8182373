"""What decides a clip beside its prompts and its image, and whether a model can make it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from wan_model.config import ModelConfig
from wan_model.sampling.schedule import Profile, Schedule, Solver, schedule, schedule_faults

if TYPE_CHECKING:
    from wan_model.sampling.solvers import SolverState

ExpertChoice = Literal["all", "high", "low"]
"""Which experts of a model with two: both, the one up to the boundary, the one from there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingParams:
    """`guidance_low` is that of the low-noise expert, where a model has two; `guidance_high` is everyone else's."""

    width: int
    height: int
    num_frames: int
    num_inference_steps: int
    guidance_high: float
    guidance_low: float
    shift: float
    solver: Solver
    profile: Profile
    seed: int

    def schedule(self) -> Schedule:
        """The grid of noise levels that these parameters ask for."""
        return schedule(
            self.profile, num_inference_steps=self.num_inference_steps, shift=self.shift, solver=self.solver
        )


def request_faults(config: ModelConfig, params: SamplingParams, *, has_first_frame: bool = False) -> list[str]:
    """Why a model of this configuration cannot make such a clip, one sentence each; empty if it can."""
    faults = schedule_faults(
        params.profile, num_inference_steps=params.num_inference_steps, shift=params.shift, solver=params.solver
    )
    for name in ("width", "height"):
        if (pixels := getattr(params, name)) < 1 or pixels % config.size_multiple:
            faults.append(f"{name} is {pixels}: a multiple of {config.size_multiple}")
    stride = config.vae.temporal_stride
    if params.num_frames < 1 or (params.num_frames - 1) % stride:
        faults.append(f"num_frames is {params.num_frames}: 1 more than a multiple of {stride}")
    for name in ("guidance_high", "guidance_low"):
        if not math.isfinite(getattr(params, name)):
            faults.append(f"{name} is {getattr(params, name)}: a finite number")
    if not 0 <= params.seed < 2**63:
        faults.append(f"seed is {params.seed}: from 0 to 2**63 - 1")
    if has_first_frame and not config.expand_timesteps:
        faults.append(f"{config.name} takes no first frame: it has no timestep per token")
    if config.dit.in_channels != config.vae.z_dim or config.dit.vace_layers:
        faults.append(f"{config.name} needs conditions besides text, which are not supported")
    return faults


def high_steps(config: ModelConfig, params: SamplingParams) -> int:
    """Steps before a model's low-noise expert takes over; all of them where it has none."""
    boundary = config.defaults.boundary
    if not config.has_low_noise_expert or boundary is None:
        return params.num_inference_steps
    return params.schedule().high_noise_steps(boundary)


def handover_faults(
    config: ModelConfig,
    params: SamplingParams,
    *,
    experts: ExpertChoice,
    state: SolverState | None,
    shape: tuple[int, ...],
) -> list[str]:
    """Why those experts cannot go on from that state of a clip whose latents have that shape; empty if they can."""
    if experts != "all" and not config.has_low_noise_expert:
        return [f"experts is {experts!r}: {config.name} has one for all steps"]
    faults = []
    step, found = (0, shape) if state is None else (state.step, tuple(state.latents.shape))
    if found != shape:
        faults.append(f"the state's latents are {found}: the clip's are {shape}")
    if not 0 <= step <= params.num_inference_steps:
        faults.append(f"the state has {step} steps behind it: the clip has {params.num_inference_steps}")
    if experts == "low" and step < high_steps(config, params):
        faults.append(f"{step} steps are done: the low-noise expert begins after {high_steps(config, params)}")
    return faults


def num_tokens(config: ModelConfig, params: SamplingParams) -> int:
    """Tokens of the clip in the DiT."""
    _, frames, height, width = config.vae.latent_shape(params.num_frames, params.height, params.width)
    t, h, w = config.dit.patch_size
    return (frames // t) * (height // h) * (width // w)
