"""Euler and UniPC as pure functions: (schedule, state, velocity) -> next state.

The state is everything a clip needs to go on: kept in storage and read back, it continues bit for bit.

UniPC: Zhao et al., "UniPC: A Unified Predictor-Corrector Framework for Fast Sampling of Diffusion Models" (2023), here
of order 2 with B(h) = expm1(h), predicting x0, first order on the last step. For flow matching alpha = 1 - sigma, and
the half log signal-to-noise ratio is lambda = log(alpha / sigma). Each update is a weighted sum of tensors whose
weights are computed in float64; the tensors stay float32.

Shapes: all tensors are (B, C, F, H, W) latents.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, tensor

from wan_model.errors import CheckpointError
from wan_model.sampling.schedule import Schedule

_ORDER = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class SolverState:
    """`latents` are the input of step `step`. The rest is UniPC's memory, empty for Euler and before the first step.

    `x0` holds the clean latents predicted at the steps before, oldest first; `last_sample` the latents that the last
    predictor started from; `last_order` its order.
    """

    latents: Tensor
    step: int = 0
    x0: tuple[Tensor, ...] = ()
    last_sample: Tensor | None = None
    last_order: int = 0

    def to_tensors(self) -> dict[str, Tensor]:
        """A flat mapping that any tensor file can hold."""
        tensors = {"latents": self.latents, "step": tensor(self.step), "last_order": tensor(self.last_order)}
        tensors |= {f"x0.{index}": prediction for index, prediction in enumerate(self.x0)}
        return tensors if self.last_sample is None else tensors | {"last_sample": self.last_sample}

    def to(self, device: torch.device) -> SolverState:
        """The state on a device."""
        return SolverState.from_tensors({name: value.to(device) for name, value in self.to_tensors().items()})

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> SolverState:
        """The inverse of `to_tensors`. Raises `CheckpointError` where a tensor is missing."""
        try:
            return cls(
                latents=tensors["latents"],
                step=int(tensors["step"]),
                x0=tuple(tensors[name] for name in sorted(tensors) if name.startswith("x0.")),
                last_sample=tensors.get("last_sample"),
                last_order=int(tensors["last_order"]),
            )
        except KeyError as missing:
            raise CheckpointError(f"a solver state without {missing}") from missing


SolverStep = Callable[[Schedule, SolverState, Tensor], SolverState]


def euler_step(schedule: Schedule, state: SolverState, velocity: Tensor) -> SolverState:
    """One straight step along the velocity."""
    width = schedule.sigmas[state.step + 1] - schedule.sigmas[state.step]
    return SolverState(latents=state.latents + width * velocity.float(), step=state.step + 1)


def unipc_step(schedule: Schedule, state: SolverState, velocity: Tensor) -> SolverState:
    """Corrects the latents with what the DiT said at them, then predicts those of the next step."""
    x0 = state.latents - schedule.sigmas[state.step] * velocity.float()
    sample = _corrected(schedule, state, x0)
    known = (*state.x0, x0)[-_ORDER:]
    order = min(len(known), schedule.num_steps - state.step)
    return SolverState(
        latents=_predicted(schedule, state.step, sample=sample, known=known, order=order),
        step=state.step + 1,
        x0=known,
        last_sample=sample,
        last_order=order,
    )


SOLVER_STEPS: dict[str, SolverStep] = {"unipc": unipc_step, "euler": euler_step}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Interval:
    """From sigma `start` to sigma `end` (> 0), and the ratio of the step before it to it where there was one."""

    scale: float
    base: float
    minus_h: float
    ratio: float

    @classmethod
    def between(cls, schedule: Schedule, start: int) -> _Interval:
        sigma, following = schedule.sigmas[start], schedule.sigmas[start + 1]
        h = _half_log_snr(following) - _half_log_snr(sigma)
        before = _half_log_snr(schedule.sigmas[start - 1]) if start else math.nan
        return cls(
            scale=following / sigma,
            base=-(1 - following) * math.expm1(-h),
            minus_h=-h,
            ratio=(before - _half_log_snr(sigma)) / h,
        )


def _predicted(schedule: Schedule, step: int, *, sample: Tensor, known: tuple[Tensor, ...], order: int) -> Tensor:
    """UniP: the latents at the next sigma. At sigma 0 they are the predicted x0 itself."""
    newest = known[-1]
    if schedule.sigmas[step + 1] == 0:
        return newest
    interval = _Interval.between(schedule, step)
    predicted = interval.scale * sample + interval.base * newest
    if order == 1:
        return predicted
    return predicted + (0.5 * interval.base / interval.ratio) * (known[-2] - newest)


def _corrected(schedule: Schedule, state: SolverState, x0: Tensor) -> Tensor:
    """UniC: the latents at this step's sigma again, now that the x0 predicted there is known."""
    if state.last_sample is None:
        return state.latents
    interval = _Interval.between(schedule, state.step - 1)
    newest = state.x0[-1]
    corrected = interval.scale * state.last_sample + interval.base * newest
    if state.last_order == 1:
        return corrected + (0.5 * interval.base) * (x0 - newest)
    older, newer = _corrector_weights(interval)
    return (
        corrected
        + (interval.base * older / interval.ratio) * (state.x0[-2] - newest)
        + (interval.base * newer) * (x0 - newest)
    )


def _corrector_weights(interval: _Interval) -> tuple[float, float]:
    """Solves [[1, 1], [ratio, 1]] w = b, the order conditions of UniC-2."""
    growth = math.expm1(interval.minus_h)
    phi_1 = growth / interval.minus_h - 1
    phi_2 = phi_1 / interval.minus_h - 0.5
    first, second = phi_1 / growth, 2 * phi_2 / growth
    older = (first - second) / (1 - interval.ratio)
    return older, first - older


def _half_log_snr(sigma: float) -> float:
    return math.log1p(-sigma) - math.log(sigma)
