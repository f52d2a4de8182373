"""The embedded nano is a diffusers folder: diffusers' own pipelines render the same frames from it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from diffusers import WanImageToVideoPipeline, WanPipeline
from PIL import Image

import wan_model
from wan_model.nano.world import Attributes, render, sample_scene
from wan_model.pipeline import EMBEDDED

FOLDER = EMBEDDED["nano"]
PROMPT = "A video of a yellow square moving to the right, on a navy background"
STEPS = 20


@pytest.fixture(scope="module")
def nano() -> wan_model.WanPipeline:
    return wan_model.load("nano")


def generator() -> torch.Generator:
    return torch.Generator("cpu").manual_seed(3)


def compare(ours: np.ndarray, theirs: np.ndarray) -> None:
    """Within the rounding to 256 levels and 1e-3 of the range, which 20 steps of guidance may add up to in fp32."""
    assert ours.shape == theirs.shape == (17, 64, 64, 3)
    assert np.abs(ours - theirs * 255).max() <= 0.5 + 255 * 1e-3
    assert theirs.std() > 0.05, "a flat picture proves nothing"


def asked_of_diffusers(nano: wan_model.WanPipeline) -> dict[str, object]:
    """The model's defaults in the words of diffusers' pipelines."""
    defaults = nano.config.defaults
    return {
        "negative_prompt": defaults.negative_prompt,
        "width": 64,
        "height": 64,
        "num_frames": 17,
        "num_inference_steps": STEPS,
        "guidance_scale": defaults.guidance_high,
        "generator": generator(),
    }


def test_text_to_video(nano: wan_model.WanPipeline) -> None:
    """With diffusers' own maximal sequence length, 512 rows of padding and text."""
    theirs = WanPipeline.from_pretrained(FOLDER, torch_dtype=torch.float32)(
        PROMPT,
        **asked_of_diffusers(nano),
    ).frames[0]
    compare(nano(PROMPT, profile="diffusers", num_inference_steps=STEPS, seed=3).frames, theirs)


def test_image_to_video(nano: wan_model.WanPipeline) -> None:
    attributes = Attributes(colour="yellow", shape="square", motion="right", background="navy")
    image = Image.fromarray(render([sample_scene(np.random.default_rng(1), attributes)], num_frames=1)[0, 0])
    theirs = WanImageToVideoPipeline.from_pretrained(FOLDER, torch_dtype=torch.float32)(
        image,
        PROMPT,
        **asked_of_diffusers(nano),
    ).frames[0]
    compare(nano(PROMPT, image=image, profile="diffusers", num_inference_steps=STEPS, seed=3).frames, theirs)
