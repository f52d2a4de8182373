"""From an image to the first frame of a clip."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch import Tensor


def first_frame_from_image(image: Image.Image, *, width: int, height: int) -> Tensor:
    """The image as (3, height, width) in [-1, 1].

    One of the clip's size is taken pixel for pixel. Any other is scaled to cover the clip with Lanczos and cropped
    to its centre, as the official TI2V code does (Wan2.2 `wan/textimage2video.py`).
    """
    fitted = cover(image.convert("RGB"), width=width, height=height)
    pixels = torch.from_numpy(np.array(fitted, dtype=np.float32)).permute(2, 0, 1)
    return 2.0 * (pixels / 255.0) - 1.0


def cover(image: Image.Image, *, width: int, height: int) -> Image.Image:
    """Scales an image until it covers width x height, keeping its aspect, and cuts out the centre."""
    if image.size == (width, height):
        return image
    scale = max(width / image.width, height / image.height)
    scaled = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.LANCZOS)
    left, top = (scaled.width - width) // 2, (scaled.height - height) // 2
    return scaled.crop((left, top, left + width, top + height))
