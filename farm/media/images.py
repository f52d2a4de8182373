"""Pictures that strangers give as first frames: decoded within bounds, or refused with a reason."""

from __future__ import annotations

import io
import warnings

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from farm.errors import InputError

MAX_BYTES = 64 << 20
MAX_PIXELS = 50_000_000

# Formats whose decoders are meant for strangers' data; Pillow knows dozens more.
FORMATS = ("PNG", "JPEG", "WEBP")


def read_image(data: bytes, *, max_bytes: int = MAX_BYTES, max_pixels: int = MAX_PIXELS) -> npt.NDArray[np.uint8]:
    """The picture as uint8 RGB (H, W, 3), turned upright as its EXIF says, transparency over black.

    Raises:
        InputError: not a PNG, JPEG or WebP picture, broken off, or of more bytes or pixels than allowed.
    """
    if len(data) > max_bytes:
        raise InputError(f"the picture has {len(data)} bytes, more than the {max_bytes} allowed")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our own bound is stricter
            image = Image.open(io.BytesIO(data), formats=FORMATS)
        _check_pixels(image, max_pixels)
        image.load()
        return np.asarray(_flatten(ImageOps.exif_transpose(image)))
    except UnidentifiedImageError as error:
        raise InputError(f"not a picture of a known format ({', '.join(FORMATS)})") from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(f"the picture cannot be decoded: {error}") from error


def _check_pixels(image: Image.Image, max_pixels: int) -> None:
    num_pixels = image.width * image.height
    if num_pixels > max_pixels:
        raise InputError(f"the picture has {image.width}x{image.height} pixels, more than the {max_pixels} allowed")


def _flatten(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16-bit grey, which Pillow would clip at 255 instead of scaling
        image = Image.fromarray((np.asarray(image).astype(np.float64) / 257.0).round().clip(0, 255).astype(np.uint8))
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        layered = image.convert("RGBA")
        image = Image.new("RGBA", layered.size, (0, 0, 0, 255))
        image.alpha_composite(layered)
    return image.convert("RGB")
