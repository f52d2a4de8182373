"""Models of two experts: where a clip's schedule changes from the high-noise expert to the low-noise one, and how gangs
are dealt out between two pools that hold one expert each.

`farm` outside its workers cannot import `wan_model`; a test asserts that the schedules here are `wan_model`'s.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from farm.spec import ClipSpec, Profile, Solver

NUM_TRAIN_TIMESTEPS = 1000


def handover_step(spec: ClipSpec, boundary: float) -> int:
    """Steps of the clip that are the high-noise expert's: those with a timestep of at least `boundary` * 1000."""
    return _high_steps(spec.profile, spec.solver, spec.num_inference_steps, spec.shift, boundary)


@lru_cache(maxsize=4096)
def _high_steps(profile: Profile, solver: Solver, num_steps: int, shift: float, boundary: float) -> int:
    """See `wan_model.sampling.schedule`, whose sums these are."""
    if profile == "official":
        sigmas = np.linspace(float(np.float32(1 - 1 / NUM_TRAIN_TIMESTEPS)), 0, num_steps + 1)[:-1]
    elif solver == "unipc":
        sigmas = np.linspace(1, 1 / NUM_TRAIN_TIMESTEPS, num_steps + 1)[:-1]
    else:
        bottom = 1 / NUM_TRAIN_TIMESTEPS
        sigmas = np.linspace(1, shift * bottom / (1 + (shift - 1) * bottom), num_steps)
    sigmas = shift * sigmas / (1 + (shift - 1) * sigmas)
    if profile == "diffusers" and solver == "euler":
        timesteps = sigmas.astype(np.float32) * np.float32(NUM_TRAIN_TIMESTEPS)
    else:
        sigmas[0] -= 0 if profile == "official" else 1e-6
        timesteps = np.trunc(sigmas * NUM_TRAIN_TIMESTEPS)
    return int(np.count_nonzero(timesteps >= boundary * NUM_TRAIN_TIMESTEPS))


@dataclass(frozen=True, slots=True, kw_only=True)
class StepSplit:
    """Denoising steps of some clips, by expert."""

    high: int = 0
    low: int = 0

    def __add__(self, other: StepSplit) -> StepSplit:
        return StepSplit(high=self.high + other.high, low=self.low + other.low)


NO_STEPS = StepSplit()


def split_of(spec: ClipSpec, boundary: float | None) -> StepSplit:
    """Of one clip. A model of one expert (no boundary) has no split: both are 0."""
    if boundary is None:
        return NO_STEPS
    high = handover_step(spec, boundary)
    return StepSplit(high=high, low=spec.num_inference_steps - high)


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolSizes:
    """Gangs that hold the high-noise expert, and gangs that hold the low-noise one."""

    high: int
    low: int


def pool_sizes(split: StepSplit, num_gangs: int) -> PoolSizes:
    """Deals gangs out as the steps are split, to the nearest whole gang and at least one each.

    Where no clip has steps of the high-noise expert, no gang holds it; the other pool decodes in any case. ValueError
    where there are too few gangs.
    """
    if split.high == 0:
        return PoolSizes(high=0, low=num_gangs)
    if num_gangs < 2:
        raise ValueError(f"two pools of {num_gangs} gangs")
    high = round(num_gangs * split.high / (split.high + split.low))
    high = min(max(high, 1), num_gangs - 1)
    return PoolSizes(high=high, low=num_gangs - high)
