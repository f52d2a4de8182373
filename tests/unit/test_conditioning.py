"""Images as first frames: pixel for pixel at the clip's size, covered and cropped at any other."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from wan_model.conditioning import cover, first_frame_from_image


def noise_image(width: int, height: int, mode: str = "RGB") -> Image.Image:
    pixels = np.random.default_rng(1).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels).convert(mode)


def test_every_pixel_of_a_fitting_image_is_kept() -> None:
    image = noise_image(48, 32)
    frame = first_frame_from_image(image, width=48, height=32)
    assert frame.shape == (3, 32, 48)
    assert torch.equal(((frame + 1) / 2 * 255).round().permute(1, 2, 0).byte(), torch.from_numpy(np.array(image)))


def test_black_and_white_are_the_ends_of_the_range() -> None:
    for level, value in ((0, -1.0), (255, 1.0)):
        frame = first_frame_from_image(Image.new("L", (16, 16), level), width=16, height=16)
        assert torch.equal(frame, torch.full((3, 16, 16), value))


@pytest.mark.parametrize("size", [(200, 100), (100, 200), (17, 300), (3000, 31), (1, 1), (48, 33)])
def test_any_size_covers_the_clip(size: tuple[int, int]) -> None:
    assert cover(noise_image(*size), width=48, height=32).size == (48, 32)


def test_the_centre_is_kept_and_the_aspect_too() -> None:
    image = Image.new("RGB", (300, 100), "red")
    image.paste("blue", (100, 0, 200, 100))
    cropped = np.array(cover(image, width=32, height=32))
    assert (cropped[:, 4:-4] == (0, 0, 255)).all()


def test_alpha_and_palettes_are_read_as_rgb() -> None:
    for mode in ("RGBA", "P", "L", "1"):
        assert first_frame_from_image(noise_image(16, 16, mode), width=16, height=16).shape == (3, 16, 16)
