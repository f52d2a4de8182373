"""One pass of the DiT equals diffusers' for every kind of conditioning, in fp32.

The name table is the test's own, written from the published conversion, so that the loader's is checked by another.
"""

from __future__ import annotations

import math

import pytest
import torch
from diffusers import WanTransformer3DModel, WanVACETransformer3DModel
from diffusers.models.embeddings import get_timestep_embedding
from torch import Tensor, nn

from wan_model.config import DiTConfig
from wan_model.dit.condition import collapse_padding
from wan_model.dit.model import WanDiT
from wan_model.dit.position import timestep_sinusoid
from wan_model.text.states import TextStates

TEXT_DIM, TEXT_LEN = 32, 512
OFFICIAL_TO_DIFFUSERS = (
    ("time_embedding.0", "condition_embedder.time_embedder.linear_1"),
    ("time_embedding.2", "condition_embedder.time_embedder.linear_2"),
    ("text_embedding.0", "condition_embedder.text_embedder.linear_1"),
    ("text_embedding.2", "condition_embedder.text_embedder.linear_2"),
    ("time_projection.1", "condition_embedder.time_proj"),
    ("img_emb.proj.0", "condition_embedder.image_embedder.norm1"),
    ("img_emb.proj.1", "condition_embedder.image_embedder.ff.net.0.proj"),
    ("img_emb.proj.3", "condition_embedder.image_embedder.ff.net.2"),
    ("img_emb.proj.4", "condition_embedder.image_embedder.norm2"),
    ("img_emb.emb_pos", "condition_embedder.image_embedder.pos_embed"),
    ("head.head", "proj_out"),
    ("head.modulation", "scale_shift_table"),
    ("modulation", "scale_shift_table"),
    ("ffn.0", "ffn.net.0.proj"),
    ("ffn.2", "ffn.net.2"),
    ("norm3", "norm2"),
    ("cross_attn.k_img", "attn2.add_k_proj"),
    ("cross_attn.v_img", "attn2.add_v_proj"),
    ("cross_attn.norm_k_img", "attn2.norm_added_k"),
    ("self_attn.q.", "attn1.to_q."),
    ("self_attn.k.", "attn1.to_k."),
    ("self_attn.v.", "attn1.to_v."),
    ("self_attn.o.", "attn1.to_out.0."),
    ("cross_attn.q.", "attn2.to_q."),
    ("cross_attn.k.", "attn2.to_k."),
    ("cross_attn.v.", "attn2.to_v."),
    ("cross_attn.o.", "attn2.to_out.0."),
    ("self_attn.", "attn1."),
    ("cross_attn.", "attn2."),
    ("before_proj", "proj_in"),
    ("after_proj", "proj_out"),
)


def diffusers_name(official: str) -> str:
    for ours, theirs in OFFICIAL_TO_DIFFUSERS:
        official = official.replace(ours, theirs)
    return official


def with_weights_of(theirs: nn.Module, config: DiTConfig) -> WanDiT:
    """Our model with their weights, all of them random enough that a misplaced one shows."""
    state = theirs.state_dict()
    for tensor in state.values():
        tensor.add_(torch.randn_like(tensor) * 0.1)
    ours = WanDiT(config).eval()
    taken = {name: state.pop(diffusers_name(name)) for name in ours.state_dict()}
    assert not state, f"weights of theirs without a place in ours: {sorted(state)}"
    ours.load_state_dict(taken, strict=True)
    return ours


def small_config(**overrides: object) -> DiTConfig:
    values: dict[str, object] = {
        "dim": 96, "ffn_dim": 160, "num_heads": 4, "num_layers": 4, "in_channels": 12, "out_channels": 8,
        "text_dim": TEXT_DIM, "freq_dim": 256,
    }  # fmt: skip
    return DiTConfig(**(values | overrides))  # type: ignore[arg-type]


def diffusers_arguments(config: DiTConfig) -> dict[str, object]:
    return {
        "num_attention_heads": config.num_heads, "attention_head_dim": config.head_dim, "num_layers": config.num_layers,
        "in_channels": config.in_channels, "out_channels": config.out_channels, "text_dim": config.text_dim,
        "ffn_dim": config.ffn_dim, "image_dim": config.image_dim,
        "added_kv_proj_dim": config.dim if config.image_dim else None,
    }  # fmt: skip


def prompts(*lengths: int) -> list[TextStates]:
    return [TextStates(states_TD=torch.randn(length, TEXT_DIM)) for length in lengths]


def padded(text: list[TextStates]) -> Tensor:
    out = torch.zeros(len(text), TEXT_LEN, TEXT_DIM)
    for row, states in enumerate(text):
        out[row, : states.num_tokens] = states.states_TD
    return out


def assert_equal(ours: Tensor, theirs: Tensor) -> None:
    error = (ours - theirs).abs().max() / theirs.abs().max()
    assert error < 1e-5, f"largest difference {error:.1e} of the largest value"


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _timestep_sinusoid_in_fp32(monkeypatch: pytest.MonkeyPatch) -> None:
    """diffusers takes the sinusoid's angles in fp32, where 999 radians are known to 6e-5 only; Wan takes them in fp64.

    That alone is 2e-5 in the output, so the rest is compared with its rounding; `test_sinusoid` holds ours to fp64.
    """
    monkeypatch.setattr("wan_model.dit.model.timestep_sinusoid", fp32_sinusoid)


def fp32_sinusoid(timestep: Tensor, dim: int) -> Tensor:
    return get_timestep_embedding(timestep.flatten(), dim, flip_sin_to_cos=True, downscale_freq_shift=0).unflatten(
        0, timestep.shape
    )


def test_sinusoid() -> None:
    timestep = torch.tensor([0.0, 1.0, 333.0, 999.0])
    ours = timestep_sinusoid(timestep, 256)
    exact = torch.tensor(
        [[fn(t * 10_000.0 ** (-i / 128)) for fn in (math.cos, math.sin) for i in range(128)] for t in timestep.tolist()]
    )
    torch.testing.assert_close(ours, exact, rtol=0, atol=1e-7)
    torch.testing.assert_close(ours, fp32_sinusoid(timestep, 256), rtol=0, atol=2e-4)


@pytest.mark.parametrize("shape", [(1, 2, 2), (5, 8, 6), (3, 2, 10)])
@pytest.mark.parametrize("lengths", [(7,), (1, 12), (512, 5), (512,)])
@torch.no_grad()
def test_text_to_video(shape: tuple[int, int, int], lengths: tuple[int, ...]) -> None:
    config = small_config()
    theirs = WanTransformer3DModel(**diffusers_arguments(config)).eval()
    ours = with_weights_of(theirs, config)
    latents, text = torch.randn(len(lengths), 12, *shape), prompts(*lengths)
    timestep = torch.tensor([999.0, 333.0])[: len(lengths)]
    expected = theirs(latents, timestep, padded(text)).sample
    assert_equal(ours(latents, timestep, ours.condition(text)), expected)


@torch.no_grad()
def test_timestep_per_token_and_per_frame() -> None:
    config = small_config()
    theirs = WanTransformer3DModel(**diffusers_arguments(config)).eval()
    ours = with_weights_of(theirs, config)
    latents, text = torch.randn(2, 12, 5, 8, 6), prompts(7, 12)
    per_frame = torch.tensor([[0.0, 333, 333, 333, 333], [0.0, 700, 700, 700, 700]])
    per_token = per_frame.repeat_interleave(4 * 3, dim=1)
    expected = theirs(latents, per_token, padded(text)).sample
    condition = ours.condition(text)
    assert_equal(ours(latents, per_token, condition), expected)
    assert_equal(ours(latents, per_frame, condition), expected)


@pytest.mark.parametrize("position_rows", [None, 514])
@torch.no_grad()
def test_image_states(position_rows: int | None) -> None:
    config = small_config(image_dim=40, image_tokens=position_rows)
    theirs = WanTransformer3DModel(**diffusers_arguments(config), pos_embed_seq_len=position_rows).eval()
    ours = with_weights_of(theirs, config)
    latents, text, image = torch.randn(1, 12, 2, 4, 4), prompts(9), torch.randn(1, position_rows or 257, 40)
    timestep = torch.tensor([500.0])
    # diffusers reads two images as two batch rows of 257 tokens.
    theirs_image = image if position_rows is None else image.view(2, 257, 40)
    expected = theirs(latents, timestep, padded(text), theirs_image).sample
    assert_equal(ours(latents, timestep, ours.condition(text, image_BTD=image)), expected)


@torch.no_grad()
def test_vace_control() -> None:
    config = small_config(vace_layers=(0, 2), vace_in_channels=24)
    theirs = WanVACETransformer3DModel(
        **{k: v for k, v in diffusers_arguments(config).items() if k != "image_dim"},
        vace_layers=[0, 2],
        vace_in_channels=24,
    ).eval()
    ours = with_weights_of(theirs, config)
    latents, control, text = torch.randn(1, 12, 2, 4, 6), torch.randn(1, 24, 2, 4, 6), prompts(9)
    timestep = torch.tensor([500.0])
    expected = theirs(
        latents,
        timestep,
        padded(text),
        control_hidden_states=control,
        control_hidden_states_scale=torch.tensor([0.7, 0.7]),
    ).sample
    assert_equal(ours(latents, timestep, ours.condition(text), vace_context=control, vace_scale=0.7), expected)


def test_no_padding_needs_no_bias() -> None:
    stacked, bias = collapse_padding(prompts(16, 16), 16)
    assert stacked.shape == (2, 16, TEXT_DIM)
    assert bias is None


def test_faults_of_the_call_are_named() -> None:
    model = WanDiT(small_config())
    with pytest.raises(ValueError, match="513 tokens"):
        model.condition(prompts(513))
    with pytest.raises(ValueError, match="image states"):
        model.condition(prompts(3), image_BTD=torch.randn(1, 257, 40))
    with pytest.raises(ValueError, match="3 timestep segments do not divide 16"):
        model(torch.randn(1, 12, 1, 8, 8), torch.zeros(1, 3), model.condition(prompts(3)))
    with pytest.raises(ValueError, match="vace_context"):
        model(torch.randn(1, 12, 1, 8, 8), torch.zeros(1), model.condition(prompts(3)), vace_context=torch.zeros(1))
