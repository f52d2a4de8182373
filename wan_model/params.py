"""What decides a clip beside its prompts and its image, and whether a model can make it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from wan_model.config import ModelConfig
from wan_model.sampling.schedule import Profile, Schedule, Solver, schedule, schedule_faults


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


def num_tokens(config: ModelConfig, params: SamplingParams) -> int:
    """Tokens of the clip in the DiT."""
    _, frames, height, width = config.vae.latent_shape(params.num_frames, params.height, params.width)
    t, h, w = config.dit.patch_size
    return (frames // t) * (height // h) * (width // w)
