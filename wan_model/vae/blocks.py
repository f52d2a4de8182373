"""What a stage of the VAE is made of: residual block, attention over a frame, head.

B batch  C channels  F frames  H height  W width  N = B * F images  L = H * W pixels.
Attribute names and the numbers in the `Sequential`s follow the official state dicts (Wan2.1 `wan/modules/vae.py`).
"""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from wan_model.vae.cache import FrameCache
from wan_model.vae.layers import CausalConv3d, RMSNorm, as_clips, as_images, pointwise


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
        norm1, _, conv1, norm2, _, _, conv2 = list[Any](self.residual)
        h = cache.extend(conv1, x, norm1)
        h = cache.extend(conv2, h, norm2)
        shortcut = pointwise(self.shortcut, x) if isinstance(self.shortcut, nn.Conv3d) else x
        return h.add_(shortcut)


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
        return as_clips(pointwise(self.proj, attended_NCHW), x.shape[2]).add_(x)


class Head(nn.Sequential):
    """Norm, SiLU, convolution to the output's channels."""

    def __init__(self, in_dim: int, out_dim: int) -> None:
        super().__init__(RMSNorm(in_dim, num_axes=3), nn.SiLU(), CausalConv3d(in_dim, out_dim))

    def forward(self, x: Tensor, cache: FrameCache) -> Tensor:  # type: ignore[override]
        norm, _, conv = list[Any](self)
        return cache.extend(conv, x, norm)
