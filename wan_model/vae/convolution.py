"""Convolutions that look only back in time, and the cache of what they have seen.

B batch  C channels  F frames  H height  W width  N = B * F images.
Activations are (B, C, F, H, W) tensors whose memory is channels-last (B, F, H, W, C), so frames, pixels and channels
regroup without a copy. The compute dtype is that of the activations: weights are cast to it (no copy where equal).
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class CausalConv3d(nn.Module):
    """A convolution that sees no later frame. Its temporal padding is the clip's own past, zeros before the start.

    `forward` takes that past (at most kernel - 1 frames; None at the start) and hands back the next chunk's.
    """

    def __init__(self, in_channels: int, out_channels: int, *, kernel_size: tuple[int, int, int] = (3, 3, 3)) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, *kernel_size))
        self.bias = nn.Parameter(torch.empty(out_channels))
        bound = 1 / math.sqrt(in_channels * math.prod(kernel_size))
        nn.init.uniform_(self.weight, -bound, bound)
        nn.init.uniform_(self.bias, -bound, bound)

    def forward(self, x: Tensor, past: Tensor | None = None) -> tuple[Tensor, Tensor]:
        history = self.weight.shape[2] - 1
        seen = x if past is None else torch.cat((past, x), dim=2)
        missing = history + x.shape[2] - seen.shape[2]
        padded = F.pad(seen, (0, 0, 0, 0, missing, 0)) if missing else seen
        return self.convolve(padded), seen[:, :, -history:]

    def convolve(self, padded: Tensor, *, temporal_stride: int = 1) -> Tensor:
        """(B, C, history + F, H, W) -> (B, C', F / stride, H, W)."""
        _, _, _, height, width = self.weight.shape
        return F.conv3d(
            padded,
            self.weight.to(padded.dtype),
            self.bias.to(padded.dtype),
            stride=(temporal_stride, 1, 1),
            padding=(0, height // 2, width // 2),
        )


class FrameCache:
    """The last frames that each temporal convolution has seen: made for one clip, dropped with it.

    A convolution without an entry is at the clip's start.
    """

    def __init__(self) -> None:
        self._past: dict[nn.Module, Tensor] = {}

    def past(self, convolution: nn.Module) -> Tensor | None:
        return self._past.get(convolution)

    def remember(self, convolution: nn.Module, past: Tensor) -> None:
        self._past[convolution] = past

    def extend(self, convolution: CausalConv3d, x: Tensor) -> Tensor:
        """The convolution's answer to the next frames, its past kept up to date."""
        y, self._past[convolution] = convolution(x, self._past.get(convolution))
        return y


def pointwise(convolution: nn.Conv2d | nn.Conv3d, x: Tensor) -> Tensor:
    """A convolution of kernel 1, applied to (B, C, ..) as the linear layer that it is."""
    weight = convolution.weight.flatten(1).to(x.dtype)
    bias = None if convolution.bias is None else convolution.bias.to(x.dtype)
    return F.linear(x.movedim(1, -1), weight, bias).movedim(-1, 1)


def as_images(x: Tensor) -> Tensor:
    """(B, C, F, H, W) -> (B * F, C, H, W)."""
    return x.movedim(2, 1).flatten(0, 1)


def as_clips(images: Tensor, num_frames: int) -> Tensor:
    """(B * F, C, H, W) -> (B, C, F, H, W)."""
    return images.unflatten(0, (-1, num_frames)).movedim(1, 2)
