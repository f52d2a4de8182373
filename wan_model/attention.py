"""Scaled dot-product attention over (B, L, N, K) tensors. Legend: B batch, L queries, T keys, N heads, K head dim."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def attention(q_BLNK: Tensor, k_BTNK: Tensor, v_BTNK: Tensor, *, bias_BT: Tensor | None = None) -> Tensor:
    """Softmax attention of each head with scale 1/sqrt(K); `bias_BT` is added to the scores of its key.

    Returns (B, L, N, K). PyTorch picks the kernel (flash, memory-efficient, cuDNN, oneDNN) for device and dtype.
    """
    mask = None if bias_BT is None else bias_BT[:, None, None, :].to(q_BLNK.dtype)
    out = F.scaled_dot_product_attention(
        q_BLNK.transpose(1, 2), k_BTNK.transpose(1, 2), v_BTNK.transpose(1, 2), attn_mask=mask
    )
    return out.transpose(1, 2)
