"""The grid of noise levels of flow matching, in two named profiles.

`official` is the grid of Wan's own `FlowUniPCMultistepScheduler` (`wan/utils/fm_solvers_unipc.py`), used here for every
solver. `diffusers` is the grid that diffusers' scheduler of that solver makes: `UniPCMultistepScheduler` with
`use_flow_sigmas`, or `FlowMatchEulerDiscreteScheduler`, whose lower end is shifted twice and whose timesteps keep
their fraction. Both are computed in float64, and the sigmas then rounded to float32 as both libraries do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from wan_model.errors import RequestError

Profile = Literal["official", "diffusers"]
Solver = Literal["unipc", "euler"]

PROFILES: tuple[str, ...] = get_args(Profile)
SOLVERS: tuple[str, ...] = get_args(Solver)
NUM_TRAIN_TIMESTEPS = 1000
_SHIFT_RANGE = (0.01, 1000.0)  # beyond it the ends of the grid round to 1 or 0, where UniPC's logarithms end

_Grid = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """`sigmas` has one entry more than `timesteps`: the final 0. `timesteps` are what the DiT is told, 0 to 1000."""

    sigmas: tuple[float, ...]
    timesteps: tuple[float, ...]

    @property
    def num_steps(self) -> int:
        return len(self.timesteps)

    def high_noise_steps(self, boundary: float) -> int:
        """How many of the steps belong to the high-noise expert (timestep >= boundary * 1000)."""
        return sum(timestep >= boundary * NUM_TRAIN_TIMESTEPS for timestep in self.timesteps)


def schedule(profile: Profile, *, num_inference_steps: int, shift: float, solver: Solver = "unipc") -> Schedule:
    """The grid of a profile. Raises `RequestError` for an unknown profile or solver, no steps or a bad shift."""
    faults = schedule_faults(profile, num_inference_steps=num_inference_steps, shift=shift, solver=solver)
    if faults:
        raise RequestError(faults)
    if profile == "official":
        return _official(num_inference_steps, shift)
    return _diffusers_euler(num_inference_steps, shift) if solver == "euler" else _diffusers(num_inference_steps, shift)


def schedule_faults(profile: str, *, num_inference_steps: int, shift: float, solver: str) -> list[str]:
    """What is wrong with a request for a schedule, one sentence each."""
    faults = []
    if profile not in PROFILES:
        faults.append(f"profile {profile!r} is unknown: one of {', '.join(PROFILES)}")
    if solver not in SOLVERS:
        faults.append(f"solver {solver!r} is unknown: one of {', '.join(SOLVERS)}")
    if num_inference_steps < 1:
        faults.append(f"num_inference_steps is {num_inference_steps}: at least 1")
    if not _SHIFT_RANGE[0] <= shift <= _SHIFT_RANGE[1]:
        faults.append(f"shift is {shift}: from {_SHIFT_RANGE[0]} to {_SHIFT_RANGE[1]}")
    return faults


def _official(num_steps: int, shift: float) -> Schedule:
    top = float(np.float32(1 - 1 / NUM_TRAIN_TIMESTEPS))
    sigmas = _shifted(np.linspace(top, 0, num_steps + 1)[:-1], shift)
    return _frozen(sigmas, np.trunc(sigmas * NUM_TRAIN_TIMESTEPS))


def _diffusers(num_steps: int, shift: float) -> Schedule:
    sigmas = _shifted(np.linspace(1, 1 / NUM_TRAIN_TIMESTEPS, num_steps + 1)[:-1], shift)
    sigmas[0] -= 1e-6  # at exactly 1 the log signal-to-noise ratio is infinite
    return _frozen(sigmas, np.trunc(sigmas * NUM_TRAIN_TIMESTEPS))


def _diffusers_euler(num_steps: int, shift: float) -> Schedule:
    bottom = _shifted(np.array([1 / NUM_TRAIN_TIMESTEPS]), shift)[0]
    sigmas = _shifted(np.linspace(1, bottom, num_steps), shift)
    return _frozen(sigmas, sigmas.astype(np.float32) * np.float32(NUM_TRAIN_TIMESTEPS))


def _shifted(sigmas: _Grid, shift: float) -> _Grid:
    return shift * sigmas / (1 + (shift - 1) * sigmas)


def _frozen(sigmas: _Grid, timesteps: npt.NDArray[np.floating]) -> Schedule:
    return Schedule(
        sigmas=(*(float(sigma) for sigma in sigmas.astype(np.float32)), 0.0),
        timesteps=tuple(float(timestep) for timestep in timesteps),
    )
