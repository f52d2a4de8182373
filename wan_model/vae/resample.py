"""Half and double resolution in space and time, learned and (generation 2.2) as parameter-free shortcuts.

B batch  C channels  F frames  H height  W width  G group of channels.
A clip's first frame stands alone: 1 + 2n frames become 1 + n and back, so halving and doubling leave frame 0 as it is.
Sources: Wan2.1 `wan/modules/vae.py` (Resample), Wan2.2 `wan/modules/vae2_2.py` (AvgDown3D, DupUp3D, patchify).
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wan_model.vae.cache import FrameCache
from wan_model.vae.layers import CausalConv3d, as_clips, as_images


class Downsample(nn.Module):
    """Half the height and width by a strided convolution; with `temporal`, half the frames after the first too."""

    def __init__(self, dim: int, *, temporal: bool) -> None:
        super().__init__()
        self.resample = nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(dim, dim, 3, stride=2))
        self.time_conv = CausalConv3d(dim, dim, kernel_size=(3, 1, 1)) if temporal else None

    def forward(self, x: Tensor, cache: FrameCache) -> Tensor:
        pad, conv = list[Any](self.resample)
        weight, bias = conv.weight.to(x.dtype), conv.bias.to(x.dtype)
        x = as_clips(F.conv2d(pad(as_images(x)), weight, bias, stride=2), x.shape[2])
        return x if self.time_conv is None else _halve_frames(self.time_conv, x, cache)


class Upsample(nn.Module):
    """Double height and width; with `temporal`, the frames after the first too."""

    def __init__(self, in_dim: int, out_dim: int, *, temporal: bool) -> None:
        super().__init__()
        self.resample = nn.Sequential(nn.Identity(), nn.Conv2d(in_dim, out_dim, 3, padding=1))  # 0: nearest, no weights
        self.time_conv = CausalConv3d(in_dim, 2 * in_dim, kernel_size=(3, 1, 1)) if temporal else None

    def forward(self, x: Tensor, cache: FrameCache) -> Tensor:
        if self.time_conv is not None:
            x = _double_frames(self.time_conv, x, cache)
        _, conv = list[Any](self.resample)
        x = cache.with_borders(x)
        folded: Tensor = cache.prepared(conv, lambda: fold_doubling(conv.weight.to(x.dtype)))
        doubled = as_clips(double_and_convolve(as_images(x), folded, conv.bias.to(x.dtype)), x.shape[2])
        return cache.without_borders(doubled, num_rows=2)


def _halve_frames(time_conv: CausalConv3d, x: Tensor, cache: FrameCache) -> Tensor:
    past = cache.past(time_conv)
    cache.remember(time_conv, x[:, :, -1:])
    seen = x if past is None else torch.cat((past, x), dim=2)
    first = [x[:, :, :1]] if past is None else []
    rest = [time_conv.convolve(seen, temporal_stride=2)] if seen.shape[2] > 1 else []
    return torch.cat(first + rest, dim=2)


def _double_frames(time_conv: CausalConv3d, x: Tensor, cache: FrameCache) -> Tensor:
    """Each frame becomes two, but the clip's first: it passes, and is no past to those that follow."""
    if cache.past(time_conv) is not None:
        return _split_channels_in_time(cache.extend(time_conv, x))
    first, rest = x[:, :, :1], x[:, :, 1:]
    cache.remember(time_conv, x[:, :, :0])
    if not rest.shape[2]:
        return first
    return torch.cat((first, _split_channels_in_time(cache.extend(time_conv, rest))), dim=2)


def _split_channels_in_time(x: Tensor) -> Tensor:
    """(B, 2C, F, H, W) -> (B, C, 2F, H, W): channel halves become consecutive frames."""
    return x.unflatten(1, (2, -1)).movedim(1, 3).flatten(2, 3)


def fold_doubling(weight: Tensor) -> Tensor:
    """A 3x3 filter over doubled pixels -> (4C', C, 2, 2), four 2x2 filters over single ones.

    Of the three doubled pixels in a kernel's row two are the same pixel, so their weights add up. The four are for
    even and odd rows and columns of the output.
    """
    return torch.cat([columns for rows in _fold(weight, dim=2) for columns in _fold(rows, dim=3)])


def _fold(weight: Tensor, *, dim: int) -> tuple[Tensor, Tensor]:
    before, here, after = weight.split(1, dim=dim)
    return torch.cat((before, here + after), dim=dim), torch.cat((before + here, after), dim=dim)


def double_and_convolve(images: Tensor, folded: Tensor, bias: Tensor) -> Tensor:
    """Nearest-neighbour doubling of (N, C, H, W), then the 3x3 convolution that was folded."""
    batch, _, height, width = images.shape
    phases = F.conv2d(images, folded, bias.repeat(4), padding=1)  # (N, 4C', H + 1, W + 1)
    doubled = phases.new_empty(batch, height, 2, width, 2, len(bias)).movedim(-1, 1)
    for index, phase in enumerate(phases.chunk(4, dim=1)):
        row, column = divmod(index, 2)
        doubled[:, :, :, row, :, column] = phase[:, :, row : row + height, column : column + width]
    return doubled.flatten(4, 5).flatten(2, 3)


def average_down(x: Tensor, *, out_dim: int, factor_t: int, factor_s: int) -> Tensor:
    """Fold blocks of factor_t x factor_s x factor_s pixels into channels and average those to `out_dim`.

    Frames missing to a multiple of factor_t are zeros in front: the first frame of a clip stands alone.
    """
    x = F.pad(x, (0, 0, 0, 0, -x.shape[2] % factor_t, 0))
    batch, channels, frames, height, width = x.shape
    frames, height, width = frames // factor_t, height // factor_s, width // factor_s
    blocks = x.reshape(batch, channels, frames, factor_t, height, factor_s, width, factor_s)
    folded_BFHWC = blocks.permute(0, 2, 4, 6, 1, 3, 5, 7).reshape(batch, frames, height, width, out_dim, -1)
    return folded_BFHWC.mean(dim=-1).movedim(-1, 1)


def duplicate_up(x: Tensor, *, out_dim: int, factor_t: int, factor_s: int) -> Tensor:
    """Repeat channels and unfold them into blocks of factor_t x factor_s x factor_s pixels of `out_dim` channels."""
    batch, channels, frames, height, width = x.shape
    repeats = out_dim * factor_t * factor_s**2 // channels
    x_BFHWC = x.movedim(1, -1).repeat_interleave(repeats, dim=-1)
    blocks = x_BFHWC.unflatten(-1, (out_dim, factor_t, factor_s, factor_s)).permute(0, 1, 5, 2, 6, 3, 7, 4)
    return blocks.reshape(batch, frames * factor_t, height * factor_s, width * factor_s, out_dim).movedim(-1, 1)


def patchify(x: Tensor, size: int) -> Tensor:
    """(B, C, F, H, W) -> (B, C * size * size, F, H / size, W / size); within a channel, columns before rows."""
    if size == 1:
        return x
    patches = x.unflatten(4, (-1, size)).unflatten(3, (-1, size))
    return patches.permute(0, 2, 3, 5, 1, 6, 4).flatten(4).movedim(-1, 1)


def unpatchify(x: Tensor, size: int) -> Tensor:
    """The inverse of `patchify`."""
    if size == 1:
        return x
    patches = x.unflatten(1, (-1, size, size))
    return patches.permute(0, 1, 4, 5, 3, 6, 2).flatten(5, 6).flatten(3, 4)
