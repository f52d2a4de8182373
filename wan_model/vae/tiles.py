"""Tiles of rows: each is decoded alone, with as many rows around it as its own rows depend on.

At the edge of what a tile is given, convolutions see zeros instead of rows, and each spoils one row more. What the
blocks still to come need around the tile is known, so what is spoilt is cut off after each block: the high resolutions,
where the work is, carry the fewest extra rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from torch import Tensor, nn

from wan_model.vae.blocks import ResidualBlock
from wan_model.vae.cache import FrameCache
from wan_model.vae.model import Decoder, UpStage
from wan_model.vae.resample import Upsample


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """`cuts` are the rows to keep of the front's answer and of each block's, `own` those of the head's."""

    cuts: tuple[slice, ...]
    own: slice

    def decode(self, decoder: Decoder, front: Tensor, cache: FrameCache) -> Tensor:
        """This tile's rows of the decoder's answer to the front's (B, C, F, H, W)."""
        x = front[:, :, :, self.cuts[0]]
        for block, cut in zip(decoder.upsamples, self.cuts[1:], strict=True):
            x = block(x, cache)[:, :, :, cut]
        return decoder.head(x, cache)[:, :, :, self.own]


def cut_tiles(decoder: Decoder, *, num_rows: int, num_tiles: int) -> list[Tile]:
    """Tiles of about equal height, at most one a row of latents."""
    num_tiles = min(num_tiles, num_rows)
    edges = [num_rows * index // num_tiles for index in range(num_tiles + 1)]
    reach = halos(decoder)
    return [_tile(decoder, reach, *pair, num_rows=num_rows) for pair in pairwise(edges)]


def halos(decoder: Decoder) -> tuple[int, ...]:
    """Rows around a tile that it depends on: in the front's answer, then in that of each block."""
    reach = [1]  # the head's convolution
    for block in reversed(decoder.upsamples):
        reach.append(_reach(block, reach[-1]))
    return tuple(reversed(reach))


def _reach(block: nn.Module, rows: int) -> int:
    """Rows around a tile of a block's input that so many rows around it depend on in its answer."""
    if isinstance(block, ResidualBlock):
        return rows + 2  # two 3x3 convolutions
    if isinstance(block, Upsample):
        return -(-(rows + 1) // 2)  # a 3x3 convolution over doubled rows
    if isinstance(block, UpStage):
        for inner in reversed(block.upsamples):
            rows = _reach(inner, rows)
        return rows
    raise TypeError(f"how far {type(block).__name__} reaches is not known")


def _tile(decoder: Decoder, reach: tuple[int, ...], start: int, stop: int, *, num_rows: int) -> Tile:
    had, cuts = 0, []
    for growth, halo in zip(growths(decoder), reach, strict=True):
        start, stop, num_rows, had = (growth * value for value in (start, stop, num_rows, had))
        first, last = max(0, start - halo), min(num_rows, stop + halo)
        cuts.append(slice(first - had, last - had))
        had = first
    return Tile(cuts=tuple(cuts), own=slice(start - had, stop - had))


def growths(decoder: Decoder) -> Iterator[int]:
    """By how much rows multiply: up to the front's answer, then in each block."""
    yield 1
    for block in decoder.upsamples:
        yield 2 if isinstance(block, Upsample) or (isinstance(block, UpStage) and block.factor_s == 2) else 1
