"""The denoising loop around a DiT of a few lines: which expert is asked, how often, and what it is told."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from wan_model.sampling.denoise import PAIRED_TOKENS, Expert, Experts, denoise, initial_noise
from wan_model.sampling.schedule import schedule
from wan_model.sampling.solvers import SolverState
from wan_model.text.states import TextStates

SHAPE = (1, 4, 3, 4, 4)
GRID = schedule("official", num_inference_steps=6, shift=5.0)


@dataclass
class RecordingDiT:
    """Answers with its condition, a weight per batch row, times tanh of its input, and keeps what it was told."""

    timesteps: list[Tensor] = field(default_factory=list)
    inputs: list[Tensor] = field(default_factory=list)
    dtype: torch.dtype = torch.float32

    @property
    def patch_embedding(self) -> SimpleNamespace:
        return SimpleNamespace(weight=torch.zeros(1, dtype=self.dtype))

    def condition(self, texts: list[TextStates]) -> Tensor:
        return torch.stack([text.states_TD[0, 0] for text in texts])

    def __call__(self, latents: Tensor, timestep: Tensor, condition: Tensor, *, parallel: object) -> Tensor:
        assert len(latents) == len(timestep) == len(condition)
        self.timesteps.append(timestep)
        self.inputs.append(latents)
        return condition.view(-1, 1, 1, 1, 1) * torch.tanh(latents)


def expert(
    dit: RecordingDiT, *, guidance: float = 3.0, negative: float | None = 0.5, num_tokens: int = 10_000
) -> Expert:
    texts = [None if weight is None else TextStates(states_TD=torch.tensor([[weight]])) for weight in (1.0, negative)]
    return Expert.prepare(dit, *texts, guidance=guidance, num_tokens=num_tokens)


def run(experts: Experts, *, first_frame: Tensor | None = None, state: SolverState | None = None) -> list[SolverState]:
    start = SolverState(latents=initial_noise(SHAPE, seed=1)) if state is None else state
    return list(denoise(GRID, start, experts=experts, first_frame=first_frame))


def test_a_seed_is_one_noise() -> None:
    assert torch.equal(initial_noise(SHAPE, seed=5), initial_noise(SHAPE, seed=5))
    assert not torch.equal(initial_noise(SHAPE, seed=5), initial_noise(SHAPE, seed=6))


@pytest.mark.parametrize(("guidance", "negative", "passes"), [(3.0, 0.5, 12), (1.0, 0.5, 6), (1.0, None, 6)])
def test_guidance_one_saves_the_second_pass(guidance: float, negative: float | None, passes: int) -> None:
    dit = RecordingDiT()
    run(Experts(high=expert(dit, guidance=guidance, negative=negative)))
    assert len(dit.inputs) == passes


@pytest.mark.parametrize(("num_tokens", "passes"), [(PAIRED_TOKENS, 1), (PAIRED_TOKENS + 1, 2)])
def test_guidance_is_linear_between_two_passes_or_the_halves_of_one(num_tokens: int, passes: int) -> None:
    latents, dit = initial_noise(SHAPE, seed=2), RecordingDiT()
    velocity = expert(dit, num_tokens=num_tokens).velocity(latents, torch.ones(1))
    assert len(dit.inputs) == passes
    torch.testing.assert_close(velocity, (0.5 + 3.0 * 0.5) * torch.tanh(latents))


def test_each_expert_gets_the_steps_of_its_side() -> None:
    high, low = RecordingDiT(), RecordingDiT()
    run(Experts(high=expert(high, guidance=1), low=expert(low, guidance=1), boundary=0.9))
    assert [float(told) for told in high.timesteps] == [told for told in GRID.timesteps if told >= 900]
    assert [float(told) for told in low.timesteps] == [told for told in GRID.timesteps if told < 900]
    assert low.timesteps


def test_a_clean_first_frame_stays_and_is_told_zero() -> None:
    dit, frame = RecordingDiT(), torch.full((1, 4, 1, 4, 4), 0.7)
    states = run(Experts(high=expert(dit, guidance=1)), first_frame=frame)
    assert all(torch.equal(seen[:, :, :1], frame) for seen in dit.inputs)
    assert all(torch.equal(state.latents[:, :, :1], frame) for state in states)
    assert dit.timesteps[2].tolist() == [[0.0, GRID.timesteps[2], GRID.timesteps[2]]]


def test_a_run_goes_on_from_any_state() -> None:
    states = run(Experts(high=expert(RecordingDiT())))
    assert [state.step for state in states] == [1, 2, 3, 4, 5, 6]
    resumed = run(Experts(high=expert(RecordingDiT())), state=states[2])
    assert torch.equal(resumed[-1].latents, states[-1].latents)


def test_a_bf16_dit_leaves_the_latents_in_fp32() -> None:
    dit = RecordingDiT(dtype=torch.bfloat16)
    states = run(Experts(high=expert(dit)))
    assert dit.inputs[0].dtype == torch.bfloat16
    assert states[-1].latents.dtype == torch.float32
