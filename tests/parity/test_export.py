"""A model of ours, exported: diffusers renders the same frames from the folder, and so do we."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import WanPipeline
from tiny_wan import redrawn, small_tokenizer

import wan_model
from wan_model.config import DiTConfig, ModelConfig, SamplingDefaults, TextConfig, VAEConfig
from wan_model.dit.model import WanDiT
from wan_model.vae import WanVAE
from wan_model.weights.export import export_diffusers
from wan_model.weights.load import build_text_encoder

SMALL = ModelConfig(
    name="small",
    text=TextConfig(vocab_size=400, d_model=32, d_ff=48, num_heads=4, d_kv=8, num_layers=2),
    dit=DiTConfig(dim=48, ffn_dim=64, num_heads=4, num_layers=2, in_channels=6, out_channels=6, text_dim=32),
    vae=VAEConfig(
        encoder_dim=8,
        decoder_dim=12,
        z_dim=6,
        dim_mult=(1, 2, 2),
        num_res_blocks=1,
        temporal_downsample=(True, True),
        is_residual=True,
        patch_size=2,
        latents_mean=(0.1,) * 6,
        latents_std=(1.2,) * 6,
    ),
    defaults=SamplingDefaults(
        num_inference_steps=5,
        shift=3.0,
        guidance_high=4.0,
        guidance_low=4.0,
        fps=8,
        num_frames=9,
        width=48,
        height=32,
        negative_prompt="",
    ),
    expand_timesteps=True,
)


@pytest.fixture(scope="module", params=["float16", "float32"])
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported")
    export_diffusers(
        folder,
        SMALL,
        text=redrawn(build_text_encoder(SMALL.text), seed=1),
        tokenizer=small_tokenizer(),
        dit=redrawn(WanDiT(SMALL.dit), seed=2),
        vae=redrawn(WanVAE(SMALL.vae), seed=3),
        dtype=request.param,
    )
    return folder


def test_dimensions_defaults_and_dtype_come_back(exported: Path) -> None:
    checkpoint = wan_model.inspect(exported)
    assert checkpoint.config == SMALL
    assert checkpoint.repository is not None
    assert (checkpoint.repository.shift, checkpoint.repository.solver) == (3.0, "unipc")
    assert checkpoint.components["dit"].dtype in {"float16", "float32"}


def test_diffusers_renders_the_same_frames(exported: Path) -> None:
    pipeline = WanPipeline.from_pretrained(exported, dtype=torch.float32)
    theirs = pipeline(
        "a red circle",
        "",
        width=48,
        height=32,
        num_frames=9,
        num_inference_steps=5,
        guidance_scale=4.0,
        generator=torch.Generator().manual_seed(3),
    ).frames[0]
    ours = wan_model.load(exported, dtype="float32")("a red circle", seed=3, profile="diffusers").frames
    assert theirs.std() > 0.05
    assert np.abs(ours - theirs * 255).max() <= 0.5 + 255 * 1e-4


def test_nothing_half_written_is_left(exported: Path) -> None:
    assert not list(exported.rglob("*.part"))
    assert json.loads((exported / "model_index.json").read_text())["expand_timesteps"] is True


def test_two_experts_come_back(tmp_path: Path) -> None:
    config = replace(
        SMALL, has_low_noise_expert=True, defaults=replace(SMALL.defaults, boundary=0.9), expand_timesteps=False
    )
    high, low = (redrawn(WanDiT(SMALL.dit), seed=seed) for seed in (4, 5))
    text, vae = redrawn(build_text_encoder(SMALL.text), seed=1), redrawn(WanVAE(SMALL.vae), seed=3)
    export_diffusers(tmp_path, config, text=text, tokenizer=small_tokenizer(), dit=high, low_dit=low, vae=vae)
    loaded = wan_model.load(tmp_path, components=("dit",))
    assert loaded.config == config
    assert loaded.low_dit is not None
    torch.testing.assert_close(loaded.low_dit.head.head.weight, low.head.head.weight, atol=1e-3, rtol=1e-3)
