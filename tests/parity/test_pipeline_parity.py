"""Finished frames of diffusers' own pipelines, for the same folder, seed and profile `diffusers`, in fp32."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import WanImageToVideoPipeline, WanPipeline
from diffusers.video_processor import VideoProcessor
from PIL import Image

import wan_model
from wan_model.conditioning import first_frame_from_image

PROMPT, NEGATIVE = "two cats &amp;amp; one   dog in the RAIN", "a red circle, blurry"
SAMPLING: dict[str, Any] = {"num_frames": 9, "num_inference_steps": 6}


def generator() -> torch.Generator:
    return torch.Generator("cpu").manual_seed(21)


def image(width: int, height: int) -> Image.Image:
    pixels = np.random.default_rng(8).integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC)


def compare(ours: np.ndarray, theirs: np.ndarray) -> None:
    """Theirs are floats in [0, 1]; ours are rounded to 256 levels, as theirs are when they are written."""
    assert ours.shape == theirs.shape
    assert theirs.std() > 0.05, "a flat picture proves nothing"
    levels = theirs * 255
    assert np.abs(ours - levels).max() <= 0.5 + 255 * 1e-4


@pytest.mark.parametrize(
    ("guidance", "paired_tokens"),
    [(4.0, 200), (4.0, 0), (1.0, 200)],
    ids=["one pass of both texts", "two passes", "no guidance"],
)
def test_text_to_video(t2v_folder: Path, guidance: float, paired_tokens: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wan_model.sampling.denoise.PAIRED_TOKENS", paired_tokens)
    size = {"width": 48, "height": 32}
    theirs = WanPipeline.from_pretrained(t2v_folder)(
        PROMPT, NEGATIVE, **size, **SAMPLING, guidance_scale=guidance, generator=generator()
    ).frames[0]
    ours = wan_model.load(t2v_folder)(
        PROMPT, negative_prompt=NEGATIVE, **size, **SAMPLING, guidance_high=guidance, profile="diffusers", seed=21
    )
    compare(ours.frames, theirs)


def test_text_to_video_with_the_repositorys_euler(euler_folder: Path) -> None:
    size = {"width": 48, "height": 32}
    theirs = WanPipeline.from_pretrained(euler_folder)(
        PROMPT, NEGATIVE, **size, **SAMPLING, guidance_scale=4.0, generator=generator()
    ).frames[0]
    ours = wan_model.load(euler_folder)(
        PROMPT, negative_prompt=NEGATIVE, **size, **SAMPLING, guidance_high=4.0, profile="diffusers", seed=21
    )
    assert ours.params.solver == "euler"
    compare(ours.frames, theirs)


def test_two_experts_change_over_at_the_boundary(two_expert_folder: Path) -> None:
    size = {"width": 48, "height": 32}
    guidance = {"guidance_scale": 4.0, "guidance_scale_2": 3.0}
    theirs = WanPipeline.from_pretrained(two_expert_folder)(
        PROMPT, NEGATIVE, **size, **SAMPLING, **guidance, generator=generator()
    ).frames[0]
    pipeline = wan_model.load(two_expert_folder)
    ours = pipeline(
        PROMPT,
        negative_prompt=NEGATIVE,
        **size,
        **SAMPLING,
        guidance_high=4.0,
        guidance_low=3.0,
        profile="diffusers",
        seed=21,
    )
    assert 0 < ours.params.schedule().high_noise_steps(0.875) < ours.params.num_inference_steps
    compare(ours.frames, theirs)


@pytest.mark.parametrize("has_image", [True, False], ids=["image", "text"])
def test_clean_first_frame(ti2v_folder: Path, has_image: bool) -> None:
    size = {"width": 96, "height": 64}
    pipeline_class = WanImageToVideoPipeline if has_image else WanPipeline
    given = {"image": image(96, 64)} if has_image else {}
    theirs = pipeline_class.from_pretrained(ti2v_folder)(
        prompt=PROMPT, negative_prompt=NEGATIVE, **given, **size, **SAMPLING, guidance_scale=4.0, generator=generator()
    ).frames[0]
    ours = wan_model.load(ti2v_folder)(
        PROMPT, negative_prompt=NEGATIVE, **given, **size, **SAMPLING, guidance_high=4.0, profile="diffusers", seed=21
    )
    compare(ours.frames, theirs)


def test_an_image_of_the_clips_size_is_prepared_alike() -> None:
    theirs = VideoProcessor(vae_scale_factor=16).preprocess(image(96, 64), height=64, width=96)
    assert torch.equal(first_frame_from_image(image(96, 64), width=96, height=64), theirs[0])


def test_latents_agree_before_they_are_rounded(ti2v_folder: Path) -> None:
    size = {"width": 96, "height": 64}
    theirs = WanImageToVideoPipeline.from_pretrained(ti2v_folder)(
        image=image(96, 64),
        prompt=PROMPT,
        negative_prompt=NEGATIVE,
        **size,
        **SAMPLING,
        guidance_scale=4.0,
        generator=generator(),
        output_type="latent",
    ).frames
    pipeline = wan_model.load(ti2v_folder)
    positive, negative = pipeline.text.encode([PROMPT, NEGATIVE])
    params = pipeline.params(**size, **SAMPLING, guidance_high=4.0, profile="diffusers", seed=21)
    frame = first_frame_from_image(image(96, 64), **size)
    ours = pipeline.denoise(positive, negative, params, first_frame=frame)
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=0)
