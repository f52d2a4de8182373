"""A 3x3x3 causal convolution with a third of its multiplications saved along time: Winograd's F(2, 3).

B batch  C channels  F frames  H height  W width.
Two consecutive outputs of a 3-tap filter take six products; with sums of inputs and of taps prepared they take four:

    m0 = (x0 - x2) g0                    y0 = m0 + m1 + m2
    m1 = (x1 + x2) (g0 + g1 + g2) / 2    y1 = m1 - m2 - m3
    m2 = (x2 - x1) (g0 - g1 + g2) / 2
    m3 = (x1 - x3) g2

where each g is a 3x3 convolution over a frame. Exact but for rounding (Lavin and Gray, arXiv:1509.09308). It pays where
convolutions are bound by arithmetic: float32 on a CPU.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from wan_model.vae.layers import as_clips, as_images


def filter_pairs(weight: Tensor, bias: Tensor) -> Callable[[Tensor], Tensor]:
    """The convolution of weight (C', C, 3, 3, 3), for windows (B, C, 2 + F, H, W) of even F. No gradient."""
    g0, g1, g2 = weight.detach().unbind(2)
    outer = g0 + g2
    taps = (g0, (outer + g1) / 2, (outer - g1) / 2, g2)
    # The bias enters y0 and y1 alike: by m1.
    filters = [tap.contiguous(memory_format=torch.channels_last) for tap in taps]

    def convolve(window: Tensor) -> Tensor:
        x0, x1, x2, x3 = (window[:, :, i : i + window.shape[2] - 3 : 2] for i in range(4))
        mixed = torch.empty_like(x0, memory_format=torch.channels_last_3d)  # each of the four inputs in turn
        m0 = _filter(torch.sub(x0, x2, out=mixed), filters[0])
        m1 = _filter(torch.add(x1, x2, out=mixed), filters[1], bias)
        m2 = _filter(torch.sub(x2, x1, out=mixed), filters[2])
        m3 = _filter(torch.sub(x1, x3, out=mixed), filters[3])
        batch, channels, pairs, height, width = m0.shape
        y = torch.empty((batch, pairs, 2, height, width, channels), dtype=m0.dtype, device=m0.device).movedim(-1, 1)
        torch.add(m0, m1, out=y[:, :, :, 0]).add_(m2)
        torch.sub(m1, m2, out=y[:, :, :, 1]).sub_(m3)
        return y.flatten(2, 3)

    return convolve


def _filter(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    return as_clips(F.conv2d(as_images(x), weight, bias, padding=1), x.shape[2])
