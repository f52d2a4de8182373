"""The loop from noise to latents. Legend: B batch, C channels, F frames, H height, W width (of latents)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from wan_model.dit.condition import Condition
from wan_model.dit.model import WanDiT
from wan_model.parallel import SINGLE, GuidanceParallel, Parallel
from wan_model.sampling.schedule import NUM_TRAIN_TIMESTEPS, Schedule, Solver
from wan_model.sampling.solvers import SOLVER_STEPS, SolverState
from wan_model.text.states import TextStates

PAIRED_TOKENS = 200
"""Up to so many tokens the two passes of guidance run as one of twice the batch: 1.26x at 80 tokens, 1.1x at 180, then
nothing (CPU, measured). It changes the rounding, so it depends on the clip's shape alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Expert:
    """A DiT with the texts of a request: the one to follow and, for guidance, the one to avoid.

    `passes` has a condition per pass of a step on this rank: one of the text to follow, one more of the text to avoid,
    or a single one of both, whose batch has the text to follow first. With guidance parallelism a rank has one of them.
    """

    dit: WanDiT
    passes: tuple[Condition, ...]
    texts_per_pass: int
    guidance: float
    is_shared: bool = False

    @classmethod
    def prepare(
        cls,
        dit: WanDiT,
        prompt: TextStates,
        negative: TextStates | None,
        *,
        guidance: float,
        num_tokens: int,
        ranks: GuidanceParallel = SINGLE.guidance,
    ) -> Expert:
        """Projects the texts once, for all steps. At guidance 1, or without a `negative`, a step is a single pass."""
        every = [prompt] if negative is None or guidance == 1 else [prompt, negative]
        texts = ranks.share(every)
        texts_per_pass = len(texts) if num_tokens <= PAIRED_TOKENS else 1
        with torch.no_grad():
            passes = tuple(
                dit.condition([_placed(text, dit) for text in texts[first : first + texts_per_pass]])
                for first in range(0, len(texts), texts_per_pass)
            )
        is_shared = len(texts) < len(every)
        return cls(dit=dit, passes=passes, texts_per_pass=texts_per_pass, guidance=guidance, is_shared=is_shared)

    def velocity(self, latents: Tensor, timestep: Tensor, *, parallel: Parallel = SINGLE) -> Tensor:
        """The guided velocity in float32; the passes run in the DiT's own dtype."""
        model_input = _repeated(latents.to(self.dit.patch_embedding.weight.dtype), self.texts_per_pass)
        told = _repeated(timestep, self.texts_per_pass)
        answers = [self.dit(model_input, told, condition, parallel=parallel.sequence) for condition in self.passes]
        every = parallel.guidance.gather(answers[0]) if self.is_shared else answers
        follow, *avoid = torch.cat(every).float().split(len(latents))
        return avoid[0] + self.guidance * (follow - avoid[0]) if avoid else follow


@dataclass(frozen=True, slots=True, kw_only=True)
class Experts:
    """Wan 2.2's A14B has two: `high` from timestep `boundary` * 1000 up, `low` below it. Else `high` does all."""

    high: Expert
    low: Expert | None = None
    boundary: float | None = None

    def at(self, timestep: float) -> Expert:
        if self.low is None or self.boundary is None or timestep >= self.boundary * NUM_TRAIN_TIMESTEPS:
            return self.high
        return self.low


def initial_noise(shape: tuple[int, ...], *, seed: int) -> Tensor:
    """Noise in float32 from a generator on the CPU, so that a seed is the same clip on every device."""
    return torch.randn(shape, generator=torch.Generator("cpu").manual_seed(seed), dtype=torch.float32)


@torch.no_grad()
def denoise(
    schedule: Schedule,
    state: SolverState,
    *,
    experts: Experts,
    solver: Solver = "unipc",
    num_steps: int | None = None,
    first_frame: Tensor | None = None,
    parallel: Parallel = SINGLE,
) -> Iterator[SolverState]:
    """Yields the state after each step that is left; the last one's latents are the clip.

    Any state yielded continues bit for bit when it is handed in again. `num_steps` ends the run before the schedule
    does, when so many steps of it are done. `first_frame` (B, C, 1, H, W) are the latents of
    a clean first frame (TI2V): it replaces the clip's own at the start and after every step, and its tokens are told
    timestep 0.
    """
    state = replace(state, latents=_with_first_frame(state.latents, first_frame))
    while state.step < (schedule.num_steps if num_steps is None else num_steps):
        timestep = schedule.timesteps[state.step]
        told = _timestep(timestep, state.latents, is_first_clean=first_frame is not None)
        velocity = experts.at(timestep).velocity(state.latents, told, parallel=parallel)
        state = SOLVER_STEPS[solver](schedule, state, velocity)
        state = replace(state, latents=_with_first_frame(state.latents, first_frame))
        yield state


def _timestep(timestep: float, latents: Tensor, *, is_first_clean: bool) -> Tensor:
    """(B,), or (B, F) with one timestep per latent frame."""
    batch, _, frames, _, _ = latents.shape
    if not is_first_clean:
        return torch.full((batch,), timestep, device=latents.device)
    told = torch.full((batch, frames), timestep, device=latents.device)
    told[:, 0] = 0
    return told


def _placed(text: TextStates, dit: WanDiT) -> TextStates:
    """The text where the DiT is, and in its dtype."""
    weight = dit.patch_embedding.weight
    return TextStates(states_TD=text.states_TD.to(device=weight.device, dtype=weight.dtype))


def _repeated(tensor: Tensor, times: int) -> Tensor:
    return tensor if times == 1 else torch.cat([tensor] * times)


def _with_first_frame(latents: Tensor, first_frame: Tensor | None) -> Tensor:
    return latents if first_frame is None else torch.cat([first_frame, latents[:, :, 1:]], dim=2)
