"""DeepSpeed-Ulysses: outside attention each rank has some tokens of all heads, inside it all tokens of some heads.

Legend: B batch, L tokens (padded to P * M), M tokens on this rank, N heads, H heads on this rank, D model, K head dim,
P ranks.

Source: Jacobs et al., "DeepSpeed Ulysses" (2023), arXiv:2309.14509.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

from wan_model.attention import attention


class UlyssesSequence:
    """Ulysses over a process group, with one all-to-all of PyTorch's for each of q, k, v and the answer."""

    def __init__(self, group: dist.ProcessGroup) -> None:
        self._group = group
        self.degree = group.size()
        self._rank = group.rank()

    def split_tokens(self, x_BLD: Tensor) -> Tensor:
        num_tokens = x_BLD.shape[1]
        share = -(-num_tokens // self.degree)
        mine = x_BLD[:, self._rank * share : (self._rank + 1) * share]
        missing = share - mine.shape[1]
        return F.pad(mine, (0, 0) * (x_BLD.ndim - 2) + (0, missing)) if missing else mine

    def gather_tokens(self, x_BMD: Tensor, num_tokens: int) -> Tensor:
        mine = x_BMD.contiguous()
        gathered = [torch.empty_like(mine) for _ in range(self.degree)]
        dist.all_gather(gathered, mine, group=self._group)
        return torch.cat(gathered, dim=1)[:, :num_tokens]

    def attend(self, q_BMNK: Tensor, k_BMNK: Tensor, v_BMNK: Tensor, num_tokens: int) -> Tensor:
        q, k, v = (self._scatter_heads(tensor) for tensor in (q_BMNK, k_BMNK, v_BMNK))
        return self._gather_heads(attend_unpadded(q, k, v, num_tokens))

    def _scatter_heads(self, x_BMNK: Tensor) -> Tensor:
        """(B, M, N, K) -> (B, L, H, K)."""
        x_PBMHK = x_BMNK.unflatten(2, (self.degree, -1)).movedim(2, 0)
        return self._exchange(x_PBMHK).movedim(0, 1).flatten(1, 2)

    def _gather_heads(self, x_BLHK: Tensor) -> Tensor:
        """(B, L, H, K) -> (B, M, N, K)."""
        x_PBMHK = x_BLHK.unflatten(1, (self.degree, -1)).movedim(1, 0)
        return self._exchange(x_PBMHK).movedim(0, 2).flatten(2, 3)

    def _exchange(self, x_P: Tensor) -> Tensor:
        """Sends entry i to rank i, and has from rank i in entry i."""
        outgoing = x_P.contiguous()
        incoming = torch.empty_like(outgoing)
        dist.all_to_all_single(incoming, outgoing, group=self._group)
        return incoming


def attend_unpadded(q_BLHK: Tensor, k_BLHK: Tensor, v_BLHK: Tensor, num_tokens: int) -> Tensor:
    """Attention over all tokens. Padding sits at the end: cutting the keys there is the mask."""
    return attention(q_BLHK, k_BLHK[:, :num_tokens], v_BLHK[:, :num_tokens])
