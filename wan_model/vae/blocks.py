"""What a stage of the VAE is made of: RMS norm, residual block, attention over a frame.

B batch  C channels  F frames  H height  W width  N = B * F images  L = H * W pixels.
Attribute names and the numbers in the `Sequential`s follow the official state dicts (Wan2.1 `wan/modules/vae.py`).
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wan_model.vae.convolution import CausalConv3d, FrameCache, as_clips, as_images, pointwise


class RMSNorm(nn.Module):
    """Scale each pixel's channels to root mean square 1, then by a learned gain. `num_axes`: of its position."""

    def __init__(self, dim: int, *, num_axes: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(dim, *(1,) * num_axes))

    def forward(self, x: Tensor) -> Tensor:
        # The norm is summed in float32 whatever the dtype: 384 squares do not fit bfloat16's 8 bits.
        norm = torch.linalg.vector_norm(x, dim=1, keepdim=True, dtype=torch.float32).clamp_min(1e-12)
        scale = math.sqrt(self.gamma.shape[0]) / norm
        return x * scale.to(x.dtype) * self.gamma.to(x.dtype)


class ResidualBlock(nn.Module):
    def __init__(self, in_dim: int, out_dim: int) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            RMSNorm(in_dim, num_axes=3),
            nn.SiLU(),
            CausalConv3d(in_dim, out_dim),
            RMSNorm(out_dim, num_axes=3),
            nn.SiLU(),
            nn.Identity(),  # dropout's place
            CausalConv3d(out_dim, out_dim),
        )
        self.shortcut = nn.Identity() if in_dim == out_dim else nn.Conv3d(in_dim, out_dim, 1)

    def forward(self, x: Tensor, cache: FrameCache) -> Tensor:
        norm1, silu, conv1, norm2, _, _, conv2 = self.residual
        h: Tensor = cache.extend(conv1, silu(norm1(x)))
        h = cache.extend(conv2, silu(norm2(h)))
        shortcut = pointwise(self.shortcut, x) if isinstance(self.shortcut, nn.Conv3d) else x
        return shortcut + h


class AttentionBlock(nn.Module):
    """Single-head self-attention among the pixels of each frame: frames do not see one another."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = RMSNorm(dim, num_axes=2)
        self.to_qkv = nn.Conv2d(dim, 3 * dim, 1)
        self.proj = nn.Conv2d(dim, dim, 1)

    def forward(self, x: Tensor, _cache: FrameCache) -> Tensor:
        images_NCHW = as_images(x)
        qkv_NHWC = pointwise(self.to_qkv, self.norm(images_NCHW)).movedim(1, -1)
        q_N1LC, k_N1LC, v_N1LC = qkv_NHWC.flatten(1, 2).unsqueeze(1).chunk(3, dim=-1)
        attended_N1LC = F.scaled_dot_product_attention(q_N1LC, k_N1LC, v_N1LC)
        attended_NCHW = attended_N1LC.squeeze(1).unflatten(1, images_NCHW.shape[2:]).movedim(-1, 1)
        return x + as_clips(pointwise(self.proj, attended_NCHW), x.shape[2])


class Head(nn.Sequential):
    """Norm, SiLU, convolution to the output's channels."""

    def __init__(self, in_dim: int, out_dim: int) -> None:
        super().__init__(RMSNorm(in_dim, num_axes=3), nn.SiLU(), CausalConv3d(in_dim, out_dim))

    def forward(self, x: Tensor, cache: FrameCache) -> Tensor:  # type: ignore[override]
        norm, silu, conv = self
        return cache.extend(conv, silu(norm(x)))
