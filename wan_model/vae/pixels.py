"""From latents to finished pixels: whole frames, the rows of several ranks, or tile after tile.

Legend: B batch, C channels, F frames, H height, W width.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from wan_model.errors import NonFiniteError
from wan_model.parallel.seam import RowShare
from wan_model.vae.cache import InferenceCache
from wan_model.vae.model import WanVAE
from wan_model.vae.tiles import cut_tiles

Frames = npt.NDArray[np.uint8]


def decoded_pixels(vae: WanVAE, latents: Tensor, rows: RowShare) -> Iterator[Frames | None]:
    """The frames (f, H, W, 3) of each latent frame on the first rank, None on the others.

    Rows travel as pixels: a byte a value. Raises `NonFiniteError` on all ranks.
    """
    for chunk in vae.decode(latents, rows=rows):
        if not rows.all_true(bool(torch.isfinite(chunk).all())):
            raise NonFiniteError("NaN or infinity in the decoded frames")
        pixels = rows.gather(to_levels(chunk))
        yield None if pixels is None else pixels.cpu().numpy()


@torch.no_grad()
def decoded_in_tiles(vae: WanVAE, latents: Tensor, num_tiles: int) -> Iterator[Frames | None]:
    """The frames (f, H, W, 3) of each latent frame, with the last tile; None after each piece before.

    A tile goes through all frames before the next begins, so that memory holds what is kept between frames for one
    tile alone, beside the front's answers and the pixels of the whole clip. Raises `NonFiniteError`.
    """
    fronts = []
    for front in vae.fronts(latents):
        fronts.append(front)
        yield None
    *tiles, last = cut_tiles(vae.decoder, num_rows=latents.shape[3], num_tiles=num_tiles)
    above: list[list[Tensor]] = [[] for _ in fronts]
    for tile in (*tiles, last):
        cache = InferenceCache()
        for front, rows in zip(fronts, above, strict=True):
            chunk = vae.frames(tile.decode(vae.decoder, front, cache))
            if not torch.isfinite(chunk).all():
                raise NonFiniteError("NaN or infinity in the decoded frames")
            rows.append(to_levels(chunk).cpu())
            yield torch.cat(rows, dim=1).numpy() if tile is last else None


def num_pieces(latents: Tensor, num_tiles: int | None) -> int:
    """Of how many pieces the decoding of latents (1, C, F, H, W) consists: what either function yields."""
    _, _, num_frames, num_rows, _ = latents.shape
    return num_frames if num_tiles is None else num_frames * (1 + min(num_tiles, num_rows))


def to_levels(chunk: Tensor) -> Tensor:
    """Frames (1, 3, F, H, W) in [-1, 1] -> (F, H, W, 3) in 0 to 255."""
    levels = (chunk[0].float() * 0.5 + 0.5).clamp(0, 1) * 255
    return levels.round().to(torch.uint8).permute(1, 2, 3, 0).contiguous()
