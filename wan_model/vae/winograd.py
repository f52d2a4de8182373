"""A 3x3x3 causal convolution with a third or half of its multiplications saved along time: Winograd's minimal filters.

B batch  C channels  F frames  H height  W width.
Two consecutive outputs of a 3-tap filter take six products, four take twelve; with sums of inputs and of taps prepared
they take four, F(2, 3), and six, F(4, 3). A product is here a 3x3 convolution of frames. Exact but for rounding: a
float32 layer's largest error is 0.6 and 2.5 times that of PyTorch's convolution. It pays where convolutions are bound
by arithmetic: float32 on a CPU. Source: Lavin and Gray, arXiv:1509.09308.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from wan_model.vae.layers import as_clips, as_images

Filter = Callable[[Tensor], Tensor]


def filter_pairs(weight: Tensor, bias: Tensor) -> Filter:
    """F(2, 3): the convolution of weight (C', C, 3, 3, 3) for windows (B, C, 2 + F, H, W) of even F. No gradient."""
    g0, g1, g2 = _taps(weight)
    outer = g0 + g2
    filter0, filter1, filter2, filter3 = map(_filter, (g0, (outer + g1) / 2, (outer - g1) / 2, g2))

    def convolve(window: Tensor) -> Tensor:
        x0, x1, x2, x3 = _interleaved(window, 2)
        mixed = _scratch(x0)  # each of the four inputs in turn
        m0 = filter0(torch.sub(x0, x2, out=mixed))
        m1 = filter1(torch.add(x1, x2, out=mixed), bias)  # the one that all outputs contain once
        m2 = filter2(torch.sub(x2, x1, out=mixed))
        m3 = filter3(torch.sub(x1, x3, out=mixed))
        y, (y0, y1) = _frames_to_fill(m0, 2)
        torch.add(m0, m1, out=y0).add_(m2)
        torch.sub(m1, m2, out=y1).sub_(m3)
        return y

    return convolve


def filter_quads(weight: Tensor, bias: Tensor) -> Filter:
    """F(4, 3): as `filter_pairs`, for F a multiple of four."""
    g0, g1, g2 = _taps(weight)
    near, far = (g0 + g2) / 6, g0 / 24 + g2 / 6
    taps = (g0 / 4, -near - g1 / 6, g1 / 6 - near, far + g1 / 12, far - g1 / 12, g2)
    filter0, filter1, filter2, filter3, filter4, filter5 = map(_filter, taps)

    def convolve(window: Tensor) -> Tensor:
        x0, x1, x2, x3, x4, x5 = _interleaved(window, 4)
        mixed, even, odd = _scratch(x0), _scratch(x0), _scratch(x0)
        torch.sub(x4, x2, out=even)
        torch.sub(x3, x1, out=odd)
        m0 = filter0(torch.sub(x0, x2, out=mixed).mul_(4).add_(even))
        m3 = filter3(torch.add(even, odd, alpha=2, out=mixed))
        m4 = filter4(torch.sub(even, odd, alpha=2, out=mixed))
        m5 = filter5(torch.sub(x5, x3, out=mixed).sub_(odd, alpha=4))
        torch.sub(x4, x2, alpha=4, out=even)
        torch.sub(x3, x1, alpha=4, out=odd)
        m1 = filter1(torch.add(even, odd, out=mixed), bias)
        m2 = filter2(torch.sub(even, odd, out=mixed))
        sum12, sum34 = m1 + m2, m3 + m4
        difference12, difference34 = m1.sub_(m2), m3.sub_(m4)
        y, (y0, y1, y2, y3) = _frames_to_fill(m0, 4)
        torch.add(sum12, sum34, out=y0).add_(m0)
        torch.add(difference12, difference34, alpha=2, out=y1)
        torch.add(sum12, sum34, alpha=4, out=y2)
        torch.add(difference12, difference34, alpha=8, out=y3).add_(m5)
        return y

    return convolve


def _taps(weight: Tensor) -> tuple[Tensor, ...]:
    """(C', C, 3, 3, 3) -> the three (C', C, 3, 3), channels-last. Transposed first: sums of strided taps crawl."""
    return weight.detach().permute(2, 0, 3, 4, 1).contiguous().movedim(-1, 2).unbind(0)


def _filter(tap: Tensor) -> Callable[..., Tensor]:
    """The 3x3 convolution of each frame by a tap (C', C, 3, 3)."""

    def convolve(x: Tensor, bias: Tensor | None = None) -> Tensor:
        return as_clips(F.conv2d(as_images(x), tap, bias, padding=1), x.shape[2])

    return convolve


def _interleaved(window: Tensor, stride: int) -> list[Tensor]:
    """For each input of a group's outputs, that input of every group: views of each `stride`-th frame."""
    last = window.shape[2] - stride - 1
    return [window[:, :, i : i + last : stride] for i in range(stride + 2)]


def _scratch(like: Tensor) -> Tensor:
    return torch.empty_like(like, memory_format=torch.channels_last_3d)


def _frames_to_fill(like: Tensor, stride: int) -> tuple[Tensor, list[Tensor]]:
    """An empty clip of `stride` times the frames, and the views of it that hold each `stride`-th frame."""
    batch, channels, groups, height, width = like.shape
    y = like.new_empty(batch, groups, stride, height, width, channels).movedim(-1, 1)
    return y.flatten(2, 3), [y[:, :, :, i] for i in range(stride)]
