"""The VAE's layers: a convolution that looks only back in time, RMS norm, and regroupings of a clip's axes.

B batch  C channels  F frames  H height  W width  P = H * W pixels.
Activations are (B, C, F, H, W) tensors whose memory is channels-last (B, F, H, W, C), so frames, pixels and channels
regroup without a copy. The compute dtype is that of the activations: weights are cast to it (no copy where equal).
"""

from __future__ import annotations

import math
from collections.abc import Callable

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

    @property
    def history(self) -> int:
        """Frames before the present one that an answer depends on."""
        return self.weight.shape[2] - 1

    def forward(self, x: Tensor, past: Tensor | None = None) -> tuple[Tensor, Tensor]:
        if past is None and x.shape[2] == 1:
            return self.convolve_first(x), x
        seen = x if past is None else torch.cat((past, x), dim=2)
        missing = self.history + x.shape[2] - seen.shape[2]
        padded = F.pad(seen, (0, 0, 0, 0, missing, 0)) if missing else seen
        return self.convolve(padded), seen[:, :, -self.history :]

    def convolve(self, padded: Tensor, *, temporal_stride: int = 1) -> Tensor:
        """(B, C, history + F, H, W) -> (B, C', F / stride, H, W)."""
        weight, bias = self.weight.to(padded.dtype), self.bias.to(padded.dtype)
        if weight.shape[3:] == (1, 1):  # A clip of pixel columns is an image of frames by pixels.
            image_BCFP = padded.flatten(3)
            return F.conv2d(image_BCFP, weight[..., 0], bias, (temporal_stride, 1)).unflatten(3, padded.shape[3:])
        return F.conv3d(padded, weight, bias, (temporal_stride, 1, 1), (0, weight.shape[3] // 2, weight.shape[4] // 2))

    def convolve_first(self, x: Tensor) -> Tensor:
        """A clip's first frame (B, C, 1, H, W): the rest of what the kernel sees is zeros, so its last tap suffices."""
        weight, bias = self.weight[:, :, -1].to(x.dtype), self.bias.to(x.dtype)
        return F.conv2d(x.squeeze(2), weight, bias, padding=(weight.shape[2] // 2, weight.shape[3] // 2)).unsqueeze(2)


def lay_out(weight: Tensor, bias: Tensor) -> Callable[[Tensor], Tensor]:
    """`CausalConv3d.convolve` of a 3-D kernel, its weights once brought into the activations' memory order."""
    weight = weight.contiguous(memory_format=torch.channels_last_3d)
    padding = (0, weight.shape[3] // 2, weight.shape[4] // 2)
    return lambda window: F.conv3d(window, weight, bias, padding=padding)


class RMSNorm(nn.Module):
    """Scale each pixel's channels to root mean square 1, then by a learned gain. `num_axes`: of its position."""

    def __init__(self, dim: int, *, num_axes: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(dim, *(1,) * num_axes))

    def forward(self, x: Tensor, *, out: Tensor | None = None) -> Tensor:
        # Summed in float32 whatever the dtype, by PyTorch itself.
        norm = torch.linalg.vector_norm(x, dim=1, keepdim=True).float().clamp_min(1e-12)
        scale = (math.sqrt(self.gamma.shape[0]) / norm).to(x.dtype)
        if out is None:
            return x * scale * self.gamma.to(x.dtype)
        return torch.mul(x, scale, out=out).mul_(self.gamma.to(x.dtype))

    def silu(self, x: Tensor, *, out: Tensor | None = None) -> Tensor:
        """SiLU of the norm."""
        return F.silu(self(x)) if out is None else F.silu(self(x, out=out), inplace=True)


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
