"""The embedded nano is a diffusers folder: diffusers' own pipelines render the same clip from it, in fp32.

A trained model amplifies rounding where a random one damps it, so here the bounds are tried that matter. Over 16 clips
(8 seeds, guidance 3 and 7) the latents differed by 5e-7 to 8e-6 of their range and the frames by 1e-6 to 3e-5;
with diffusers' sinusoid of the timestep taken in fp64, as Wan's is, by at most 3e-6 and 1e-5.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from diffusers import WanImageToVideoPipeline, WanPipeline
from PIL import Image

import wan_model
from wan_model.conditioning import first_frame_from_image
from wan_model.nano.world import Attributes, render, sample_scene
from wan_model.opening import EMBEDDED

FOLDER = EMBEDDED["nano"]
PROMPT = "A video of a yellow square moving to the right, on a navy background"
SIZE = {"width": 64, "height": 64}
STEPS, SEED = 20, 3
LATENT_BOUND, FRAME_BOUND = 2e-5, 1e-4  # of the range


@pytest.fixture(scope="module")
def nano() -> wan_model.WanPipeline:
    return wan_model.load("nano")


@pytest.fixture(scope="module")
def first_frame() -> Image.Image:
    attributes = Attributes(colour="yellow", shape="square", motion="right", background="navy")
    return Image.fromarray(render([sample_scene(np.random.default_rng(1), attributes)], num_frames=1)[0, 0])


def asked_of_diffusers(nano: wan_model.WanPipeline) -> dict[str, Any]:
    """The model's defaults in the words of diffusers' pipelines, whose texts are padded to 512 rows."""
    defaults = nano.config.defaults
    return {
        "prompt": PROMPT,
        "negative_prompt": defaults.negative_prompt,
        **SIZE,
        "num_frames": 17,
        "num_inference_steps": STEPS,
        "guidance_scale": defaults.guidance_high,
    }


@pytest.mark.parametrize("has_image", [False, True], ids=["text", "image"])
def test_same_latents_and_frames(nano: wan_model.WanPipeline, first_frame: Image.Image, has_image: bool) -> None:
    kind = WanImageToVideoPipeline if has_image else WanPipeline
    theirs = kind.from_pretrained(FOLDER, torch_dtype=torch.float32)
    theirs.set_progress_bar_config(disable=True)
    asked = asked_of_diffusers(nano) | ({"image": first_frame} if has_image else {})

    def rendered(output_type: str) -> Any:
        return theirs(**asked, generator=torch.Generator("cpu").manual_seed(SEED), output_type=output_type).frames

    sampling: dict[str, Any] = {"profile": "diffusers", "num_inference_steps": STEPS, "seed": SEED}
    positive, negative = nano.text.encode([PROMPT, nano.config.defaults.negative_prompt])
    latents = nano.denoise(
        positive,
        negative,
        nano.params(**sampling),
        first_frame=first_frame_from_image(first_frame, **SIZE) if has_image else None,
    )
    assert_same_latents(latents, rendered("latent"))
    clip = nano(PROMPT, image=first_frame if has_image else None, **sampling)
    assert_same_frames(clip.frames, rendered("np")[0])


def assert_same_latents(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    assert ours.shape == theirs.shape
    value_range = float(theirs.max() - theirs.min())
    difference = float((ours - theirs).abs().max())
    assert difference <= LATENT_BOUND * value_range, f"{difference / value_range:.1e} of the range"


def assert_same_frames(ours: np.ndarray, theirs: np.ndarray) -> None:
    """Theirs are floats in [0, 1]; ours are rounded to 256 levels, as theirs are when they are written."""
    assert ours.shape == theirs.shape == (17, 64, 64, 3)
    assert theirs.std() > 0.05, "a flat picture proves nothing"
    assert np.abs(ours - theirs * 255).max() <= 0.5 + 255 * FRAME_BOUND
