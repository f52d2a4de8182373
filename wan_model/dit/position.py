"""Where a token stands: the rotary table of a clip and the sinusoid of a timestep.

Legend: F, H, W latent frames, rows, columns in patches; K head dim.
"""

from __future__ import annotations

import torch
from torch import Tensor


def rope_table(head_dim: int, grid: tuple[int, int, int], *, theta: float = 10_000.0) -> Tensor:
    """Rotary factors of all tokens of a (F, H, W) grid: complex64 (F*H*W, K/2), angles taken in fp64 on the CPU.

    Of the head's real dimensions 2*(K//6) each belong to rows and columns and the rest to time (44, 42, 42 at K = 128).
    """
    side = 2 * (head_dim // 6)
    axes = []
    for axis, (size, dim) in enumerate(zip(grid, (head_dim - 2 * side, side, side), strict=True)):
        frequencies = theta ** -(torch.arange(0, dim, 2, dtype=torch.float64) / dim)
        angles = torch.outer(torch.arange(size, dtype=torch.float64), frequencies)
        shape = [1, 1, 1, dim // 2]
        shape[axis] = size
        axes.append(angles.view(shape).expand(*grid, dim // 2))
    angles_LK = torch.cat(axes, dim=-1).flatten(0, 2)
    return torch.polar(torch.ones_like(angles_LK), angles_LK).to(torch.complex64)


def timestep_sinusoid(timestep: Tensor, dim: int) -> Tensor:
    """Sinusoid of a timestep in fp64, cosines first; returns fp32 (*timestep.shape, dim)."""
    half = dim // 2
    exponent = torch.arange(half, dtype=torch.float64, device=timestep.device) / half
    angles = timestep.double()[..., None] * 10_000.0**-exponent
    return torch.cat((angles.cos(), angles.sin()), dim=-1).float()
