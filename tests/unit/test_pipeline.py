"""The pipeline's door: defaults, what it refuses, and what it tells while it works."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from wan_model.config import DiTConfig, ModelConfig, SamplingDefaults, TextConfig, VAEConfig
from wan_model.dit.model import WanDiT
from wan_model.errors import NonFiniteError, RequestError
from wan_model.pipeline import WanPipeline
from wan_model.text.states import TextStates
from wan_model.vae import WanVAE
from wan_model.variants import VARIANTS
from wan_model.weights.checkpoint import RepositorySampling

TINY = ModelConfig(
    name="tiny",
    text=TextConfig(vocab_size=64, d_model=16, d_ff=16, num_heads=2, d_kv=8, num_layers=1),
    dit=DiTConfig(dim=48, ffn_dim=32, num_heads=4, num_layers=1, in_channels=4, out_channels=4, text_dim=16),
    vae=VAEConfig(
        encoder_dim=4,
        decoder_dim=4,
        z_dim=4,
        dim_mult=(1, 1, 1),
        num_res_blocks=1,
        temporal_downsample=(True, True),
        is_residual=True,
        patch_size=2,
        latents_mean=(0.0,) * 4,
        latents_std=(1.0,) * 4,
    ),
    defaults=SamplingDefaults(
        num_inference_steps=3,
        shift=3.0,
        guidance_high=4.0,
        guidance_low=4.0,
        fps=8,
        num_frames=5,
        width=48,
        height=32,
    ),
    expand_timesteps=True,
)
TEXT = TextStates(states_TD=torch.linspace(-1, 1, 48).view(3, 16))


@pytest.fixture(scope="module")
def pipeline() -> WanPipeline:
    torch.manual_seed(0)
    return WanPipeline(config=TINY, dit=WanDiT(TINY.dit).eval(), vae=WanVAE(TINY.vae).eval())


def test_every_fault_of_a_request_is_named_at_once(pipeline: WanPipeline) -> None:
    params = pipeline.params(
        width=40, height=-16, num_frames=6, num_inference_steps=0, shift=0.0, guidance_high=float("nan"), seed=-1
    )
    with pytest.raises(RequestError) as caught:
        pipeline.denoise(TEXT, TEXT, params)
    named = [fault.split(" is ")[0] for fault in caught.value.faults]
    assert named == ["num_inference_steps", "shift", "width", "height", "num_frames", "guidance_high", "seed"]


def test_sizes_are_refused_and_never_rounded(pipeline: WanPipeline) -> None:
    assert pipeline.faults(pipeline.params(width=56)) == ["width is 56: a multiple of 16"]
    assert pipeline.faults(pipeline.params(num_frames=1)) == []


def test_what_a_model_cannot_do_is_named() -> None:
    for name, has_first_frame, word in (
        ("wan2.1-t2v-1.3b", True, "no first frame"),
        ("wan2.2-i2v-a14b", False, "conditions besides text"),
        ("wan2.1-vace-1.3b", False, "conditions besides text"),
    ):
        model = WanPipeline(config=VARIANTS[name])
        assert word in " ".join(model.faults(model.params(), has_first_frame=has_first_frame))
    model = WanPipeline(config=VARIANTS["wan2.2-ti2v-5b"])
    assert model.faults(model.params(), has_first_frame=True) == []


def test_an_unknown_parameter_is_refused(pipeline: WanPipeline) -> None:
    with pytest.raises(RequestError, match="'steps' is no sampling parameter"):
        pipeline.params(steps=4)


def test_defaults_follow_the_model_and_the_profile(pipeline: WanPipeline) -> None:
    repository = replace(pipeline, repository=RepositorySampling(shift=7.0, solver="euler"))
    assert (pipeline.params().shift, pipeline.params().profile) == (3.0, "official")
    theirs = repository.params(profile="diffusers")
    assert (theirs.shift, theirs.solver) == (7.0, "euler")
    assert repository.params(profile="diffusers", shift=2.0).shift == 2.0


def test_a_component_that_was_not_loaded_is_named(pipeline: WanPipeline) -> None:
    with pytest.raises(RequestError, match="without its text"):
        pipeline("a red circle")


def test_guidance_needs_a_negative(pipeline: WanPipeline) -> None:
    with pytest.raises(RequestError, match="negative"):
        pipeline.denoise(TEXT, None, pipeline.params())
    assert pipeline.denoise(TEXT, None, pipeline.params(guidance_high=1.0)).shape == (1, 4, 2, 4, 6)


def test_steps_are_told_and_the_seed_decides(pipeline: WanPipeline) -> None:
    told: list[tuple[int, int]] = []
    first = pipeline.denoise(TEXT, TEXT, pipeline.params(seed=1), on_step=lambda *step: told.append(step))
    assert told == [(1, 3), (2, 3), (3, 3)]
    assert torch.equal(first, pipeline.denoise(TEXT, TEXT, pipeline.params(seed=1)))
    assert not torch.equal(first, pipeline.denoise(TEXT, TEXT, pipeline.params(seed=2)))


def test_a_clean_first_frame_is_the_vaes_own(pipeline: WanPipeline) -> None:
    frame = torch.rand(3, 32, 48, generator=torch.Generator().manual_seed(3)) * 2 - 1
    latents = pipeline.denoise(TEXT, TEXT, pipeline.params(), first_frame=frame)
    assert torch.equal(latents[:, :, :1], pipeline.encode_image(frame))


def test_frames_come_in_chunks_of_levels(pipeline: WanPipeline) -> None:
    chunks = list(pipeline.decode(pipeline.denoise(TEXT, TEXT, pipeline.params())))
    assert [chunk.shape for chunk in chunks] == [(1, 32, 48, 3), (4, 32, 48, 3)]
    assert all(chunk.dtype == np.uint8 and chunk.flags.c_contiguous for chunk in chunks)


def test_levels_are_rounded_half_to_even(monkeypatch: pytest.MonkeyPatch, pipeline: WanPipeline) -> None:
    values = torch.tensor([-1.5, -1.0, 0.0, 1.0, 1.5]).view(1, 1, 1, 1, 5).expand(1, 3, 1, 1, 5)
    monkeypatch.setattr(pipeline.vae, "decode", lambda latents, rows: iter([values]))
    assert next(pipeline.decode(torch.zeros(1, 4, 1, 1, 5)))[0, 0, :, 0].tolist() == [0, 0, 128, 255, 255]


def test_nan_is_an_error_of_its_own(pipeline: WanPipeline) -> None:
    class Broken(WanDiT):
        def forward(self, *args: Any, **kwargs: Any) -> Tensor:
            return super().forward(*args, **kwargs) * float("nan")

    steps = replace(pipeline, dit=Broken(TINY.dit)).steps(TEXT, TEXT, pipeline.params())
    assert [next(steps).step, next(steps).step] == [1, 2]
    with pytest.raises(NonFiniteError):  # instead of a last state, which could be kept
        next(steps)


def test_a_state_goes_on_where_it_was_and_a_finished_one_has_no_steps(pipeline: WanPipeline) -> None:
    states = list(pipeline.steps(TEXT, TEXT, pipeline.params()))
    *_, last = pipeline.steps(TEXT, TEXT, pipeline.params(), state=states[0])
    assert torch.equal(last.latents, states[-1].latents)
    assert list(pipeline.steps(TEXT, TEXT, pipeline.params(), state=states[-1])) == []


def test_a_state_of_another_clip_is_refused_at_once(pipeline: WanPipeline) -> None:
    *_, last = pipeline.steps(TEXT, TEXT, pipeline.params())
    with pytest.raises(RequestError) as caught:
        pipeline.steps(TEXT, TEXT, pipeline.params(width=64, num_inference_steps=2), state=last)
    assert [fault.split(":")[0] for fault in caught.value.faults] == [
        "the state's latents are (1, 4, 2, 4, 6)",
        "the state has 3 steps behind it",
    ]


@pytest.fixture
def pair(pipeline: WanPipeline) -> WanPipeline:
    config = replace(TINY, has_low_noise_expert=True, defaults=replace(TINY.defaults, boundary=0.9))
    return replace(pipeline, config=config, low_dit=WanDiT(TINY.dit).eval())


def test_two_pools_hand_over_at_the_boundary(pair: WanPipeline) -> None:
    params = pair.params(num_inference_steps=6)
    high = list(replace(pair, low_dit=None).steps(TEXT, TEXT, params, experts="high"))
    low = list(replace(pair, dit=None).steps(TEXT, TEXT, params, experts="low", state=high[-1]))
    assert [state.step for state in high + low] == [1, 2, 3, 4, 5, 6]
    assert len(high) == params.schedule().high_noise_steps(0.9)
    assert torch.equal(low[-1].latents, pair.denoise(TEXT, TEXT, params))


def test_the_low_noise_expert_waits_for_the_boundary(pair: WanPipeline, pipeline: WanPipeline) -> None:
    params = pair.params(num_inference_steps=6)
    first = next(pair.steps(TEXT, TEXT, params))
    for state, done in ((None, 0), (first, 1)):
        with pytest.raises(RequestError, match=f"{done} steps are done: the low-noise expert begins after"):
            pair.steps(TEXT, TEXT, params, experts="low", state=state)
    with pytest.raises(RequestError, match="experts is 'high': tiny has one"):
        pipeline.steps(TEXT, TEXT, params, experts="high")
