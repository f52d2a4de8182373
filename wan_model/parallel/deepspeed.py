"""DeepSpeed's own Ulysses layer, imported only where it is chosen: see docs/adr/0005-sequence-parallelism.md.

Legend: B batch, M tokens on this rank, N heads, K head dim.
"""

from __future__ import annotations

import os
from typing import Any

import torch.distributed as dist
from torch import Tensor, nn

from wan_model.parallel.ulysses import UlyssesSequence, attend_unpadded


class DeepSpeedSequence(UlyssesSequence):
    """Ulysses with `deepspeed.sequence.layer.DistributedAttention` for what surrounds attention."""

    def __init__(self, group: dist.ProcessGroup, device_type: str) -> None:
        super().__init__(group)
        self._layer = _layer(group, device_type)

    def attend(self, q_BMNK: Tensor, k_BMNK: Tensor, v_BMNK: Tensor, num_tokens: int) -> Tensor:
        batch_axis, rotary = 0, None
        return self._layer(q_BMNK, k_BMNK, v_BMNK, batch_axis, rotary, num_tokens)


class _Attention(nn.Module):
    def forward(self, q: Tensor, k: Tensor, v: Tensor, num_tokens: int) -> Tensor:
        return attend_unpadded(q, k, v, num_tokens)


def _layer(group: dist.ProcessGroup, device_type: str) -> Any:
    os.environ.setdefault("DS_ACCELERATOR", device_type)  # else it guesses, and warns
    import deepspeed
    import deepspeed.ops
    from deepspeed.sequence.layer import DistributedAttention

    # None of its compiled kernels is needed here: on a CPU it would probe for a compiler and build collectives of its
    # own for a minute.
    vars(deepspeed.ops).setdefault("__compatible_ops__", {})
    if not deepspeed.comm.is_initialized():
        deepspeed.init_distributed(dist_backend=dist.get_backend(group), verbose=False)
    return DistributedAttention(_Attention(), group, scatter_idx=2, gather_idx=1)
