"""The training loop that the nano model's two parts share: a time budget, an average of the weights, checkpoints.

Randomness of a step is a function of (seed, step), so a resumed run sees the data it would have seen.
"""

from __future__ import annotations

import logging
import math
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

log = logging.getLogger(__name__)

WARMUP_STEPS = 100
EMA_DECAY = 0.999
MUON_FACTOR = 2.0  # its learning rate, in those of AdamW
_BLOCK_MATRIX = re.compile(r".*\bblocks\.\d+\..*\.weight")  # of the DiT
LOG_EVERY = 50
CHECKPOINT_EVERY_S = 90.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """Where a run stands: `fraction` of its budget is spent (0 to 1); the generators are this step's own."""

    step: int
    fraction: float
    numpy_rng: np.random.Generator
    torch_rng: torch.Generator


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """How long to train: `minutes` of this process's work over all its resumptions, or `max_steps` if fewer."""

    minutes: float
    max_steps: int | None = None

    def fraction(self, step: int, elapsed_s: float) -> float:
        by_steps = 0.0 if self.max_steps is None else step / self.max_steps
        return min(1.0, max(by_steps, elapsed_s / (60 * self.minutes)))


def learning_rate(peak: float, *, step: int, fraction: float, decay_from: float = 0.4) -> float:
    """Linear warm-up, a plateau, then half a cosine down to zero at the end of the budget."""
    decayed = max(0.0, (fraction - decay_from) / (1 - decay_from))
    return peak * min(1.0, (step + 1) / WARMUP_STEPS) * 0.5 * (1 + math.cos(math.pi * decayed))


def fit(
    model: nn.Module,
    loss_of: Callable[[Moment], Tensor],
    *,
    budget: Budget,
    peak_learning_rate: float,
    checkpoint: Path,
    seed: int = 0,
    is_resumed: bool = False,
    checkpoint_every_s: float = CHECKPOINT_EVERY_S,
) -> list[float]:
    """Trains `model` in place and leaves the averaged weights in it.

    Args:
        loss_of: one batch's loss, a scalar with gradient.
        checkpoint: written aside and renamed, every `checkpoint_every_s` and at the end.
        is_resumed: go on from `checkpoint` where it exists.

    Returns:
        The losses of the steps made by this call.
    """
    optimizers = make_optimizers(model, peak_learning_rate)
    ema = {name: value.detach().clone() for name, value in model.state_dict().items()}
    step, elapsed_s, losses = 0, 0.0, list[float]()
    if is_resumed and checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(state["model"])
        for optimizer, saved in zip(optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        ema, step, elapsed_s = state["ema"], state["step"], state["elapsed_s"]
    saved_s = elapsed_s
    while (fraction := budget.fraction(step, elapsed_s)) < 1:
        started = time.perf_counter()
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(group["peak"], step=step, fraction=fraction)
        losses.append(_step(model, optimizers, loss_of(_moment(seed, step, fraction))))
        _average(ema, model, decay=min(EMA_DECAY, (step + 1) / (step + 10)))
        step += 1
        elapsed_s += time.perf_counter() - started
        if step % LOG_EVERY == 0:
            recent = float(np.mean(losses[-LOG_EVERY:]))
            log.info("step %d, %.1f min, loss %.5f", step, elapsed_s / 60, recent)
        if elapsed_s - saved_s >= checkpoint_every_s:
            saved_s = elapsed_s
            _save(checkpoint, model=model, ema=ema, optimizers=optimizers, step=step, elapsed_s=elapsed_s)
    _save(checkpoint, model=model, ema=ema, optimizers=optimizers, step=step, elapsed_s=elapsed_s)
    model.load_state_dict(ema)
    return losses


def make_optimizers(model: nn.Module, peak_learning_rate: float) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of the DiT's blocks, AdamW for everything else.

    Muon (Jordan et al., 2024) gives rare directions the weight of common ones. Here those are what relates frames, and
    the words for motion and shape, which AdamW had not found after 2,000 steps. The text encoder's queries, which T5
    does not scale, it drove so high that each word looked at one other and never at where that stood.
    """
    parameters = dict(model.named_parameters())
    matrices = [name for name, value in parameters.items() if value.ndim == 2 and _BLOCK_MATRIX.fullmatch(name)]
    rest = [value for name, value in parameters.items() if name not in matrices]
    adam = torch.optim.AdamW(rest, lr=peak_learning_rate, betas=(0.9, 0.98), weight_decay=0.01, fused=True)
    optimizers: list[torch.optim.Optimizer] = [adam]
    if matrices:
        hidden = [parameters[name] for name in matrices]
        muon = torch.optim.Muon(
            hidden, lr=MUON_FACTOR * peak_learning_rate, weight_decay=0.01, adjust_lr_fn="match_rms_adamw"
        )
        optimizers.append(muon)
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["peak"] = group["lr"]
    return optimizers


def averaged_weights(checkpoint: Path) -> dict[str, Tensor]:
    """The averaged weights that a checkpoint holds: what a finished, or stopped, run gives."""
    weights: dict[str, Tensor] = torch.load(checkpoint, weights_only=True)["ema"]
    return weights


def _moment(seed: int, step: int, fraction: float) -> Moment:
    torch_rng = torch.Generator("cpu").manual_seed(seed * 1_000_003 + step)
    return Moment(step=step, fraction=fraction, numpy_rng=np.random.default_rng((seed, step)), torch_rng=torch_rng)


def _step(model: nn.Module, optimizers: Sequence[torch.optim.Optimizer], loss: Tensor) -> float:
    model.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    for optimizer in optimizers:
        optimizer.step()
    return loss.item()


@torch.no_grad()
def _average(ema: dict[str, Tensor], model: nn.Module, *, decay: float) -> None:
    for name, value in model.state_dict().items():
        ema[name].lerp_(value, 1 - decay)


def _save(
    path: Path,
    *,
    model: nn.Module,
    ema: dict[str, Tensor],
    optimizers: Sequence[torch.optim.Optimizer],
    step: int,
    elapsed_s: float,
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_suffix(".partial")
    state = {"model": model.state_dict(), "ema": ema, "optimizers": [part.state_dict() for part in optimizers]}
    torch.save({**state, "step": step, "elapsed_s": elapsed_s}, aside)
    aside.replace(path)
