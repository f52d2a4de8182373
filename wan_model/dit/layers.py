"""The parts of a Wan transformer block.

Legend: B batch, L tokens, M tokens on this rank, S timestep segments, D model, N heads, K head dim, T context tokens.
Parameter names are those of the official checkpoints (Wan2.1 and Wan2.2, `wan/modules/model.py`).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wan_model.attention import attention
from wan_model.config import DiTConfig
from wan_model.parallel import SequenceParallel


class Linear(nn.Linear):
    """A linear layer that computes in its input's dtype, so that fp32 master weights can serve bf16 activations."""

    def forward(self, x: Tensor) -> Tensor:
        bias = None if self.bias is None else self.bias.to(x.dtype)
        return F.linear(x, self.weight.to(x.dtype), bias)


class RMSNorm(nn.Module):
    """Root-mean-square norm over the last dimension, in fp32."""

    def __init__(self, dim: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x.float(), self.weight.shape, self.weight.float(), self.eps).to(x.dtype)


class LayerNorm(nn.Module):
    """Layer norm with a learned scale and offset, in fp32."""

    def __init__(self, dim: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))
        self.bias = nn.Parameter(torch.zeros(dim))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        shape = self.weight.shape
        return F.layer_norm(x.float(), shape, self.weight.float(), self.bias.float(), self.eps).to(x.dtype)


def modulated_norm(x_BMD: Tensor, *, scale_BSD: Tensor, shift_BSD: Tensor, eps: float) -> Tensor:
    """norm(x) * (1 + scale) + shift in fp32, in x's dtype; each of the S segments of tokens has its own pair."""
    dim = x_BMD.shape[-1:]
    if scale_BSD.shape[:2] == (1, 1):
        return F.layer_norm(x_BMD.float(), dim, 1 + scale_BSD[0, 0], shift_BSD[0, 0], eps).to(x_BMD.dtype)
    normed = F.layer_norm(x_BMD.float(), dim, eps=eps).unflatten(1, (scale_BSD.shape[1], -1))
    return torch.addcmul(shift_BSD[:, :, None], normed, 1 + scale_BSD[:, :, None]).flatten(1, 2).to(x_BMD.dtype)


def gated_sum(x_BMD: Tensor, y_BMD: Tensor, *, gate_BSD: Tensor) -> Tensor:
    """x + y * gate in fp32, in x's dtype."""
    segments = (gate_BSD.shape[1], -1)
    x, y = x_BMD.float().unflatten(1, segments), y_BMD.float().unflatten(1, segments)
    return torch.addcmul(x, y, gate_BSD[:, :, None]).flatten(1, 2).to(x_BMD.dtype)


def rotate(x_BMNK: Tensor, rope_MK: Tensor) -> Tensor:
    """Rotary embedding of interleaved pairs; `rope_MK` is complex64 (M, K/2), the product is taken in fp32."""
    pairs = torch.view_as_complex(x_BMNK.float().unflatten(-1, (-1, 2)))
    return torch.view_as_real(pairs * rope_MK[:, None]).flatten(-2).to(x_BMNK.dtype)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeysValues:
    """Keys and values of one block for context that stays the same over all steps. (B, T, N, K) each."""

    k_BTNK: Tensor
    v_BTNK: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockCondition:
    """What one block's cross-attention reads: text, and CLIP's image tokens where the model has them."""

    text: KeysValues
    image: KeysValues | None = None


class SelfAttention(nn.Module):
    """Attention among all tokens of the clip; q and k are normed over the full width before the head split."""

    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        self.num_heads = config.num_heads
        self.q = Linear(config.dim, config.dim)
        self.k = Linear(config.dim, config.dim)
        self.v = Linear(config.dim, config.dim)
        self.o = Linear(config.dim, config.dim)
        self.norm_q = RMSNorm(config.dim, config.eps)
        self.norm_k = RMSNorm(config.dim, config.eps)

    def forward(self, x_BMD: Tensor, rope_MK: Tensor, *, parallel: SequenceParallel, num_tokens: int) -> Tensor:
        heads = (self.num_heads, -1)
        q_BMNK = rotate(self.norm_q(self.q(x_BMD)).unflatten(-1, heads), rope_MK)
        k_BMNK = rotate(self.norm_k(self.k(x_BMD)).unflatten(-1, heads), rope_MK)
        v_BMNK = self.v(x_BMD).unflatten(-1, heads)
        return self.o(parallel.attend(q_BMNK, k_BMNK, v_BMNK, num_tokens).flatten(2))


class CrossAttention(nn.Module):
    """Attention to the text, plus attention to the image tokens (I2V 2.1) with keys and values of their own."""

    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        self.num_heads = config.num_heads
        self.q = Linear(config.dim, config.dim)
        self.k = Linear(config.dim, config.dim)
        self.v = Linear(config.dim, config.dim)
        self.o = Linear(config.dim, config.dim)
        self.norm_q = RMSNorm(config.dim, config.eps)
        self.norm_k = RMSNorm(config.dim, config.eps)
        if config.image_dim is not None:
            self.k_img = Linear(config.dim, config.dim)
            self.v_img = Linear(config.dim, config.dim)
            self.norm_k_img = RMSNorm(config.dim, config.eps)

    def condition(self, text_BTD: Tensor, image_BTD: Tensor | None) -> BlockCondition:
        """Keys and values of the context, computed once per request."""
        heads = (self.num_heads, -1)
        text = KeysValues(
            k_BTNK=self.norm_k(self.k(text_BTD)).unflatten(-1, heads), v_BTNK=self.v(text_BTD).unflatten(-1, heads)
        )
        if image_BTD is None:
            return BlockCondition(text=text)
        k_img = self.norm_k_img(self.k_img(image_BTD)).unflatten(-1, heads)
        return BlockCondition(
            text=text, image=KeysValues(k_BTNK=k_img, v_BTNK=self.v_img(image_BTD).unflatten(-1, heads))
        )

    def forward(self, x_BMD: Tensor, context: BlockCondition, *, text_bias_BT: Tensor | None) -> Tensor:
        q_BMNK = self.norm_q(self.q(x_BMD)).unflatten(-1, (self.num_heads, -1))
        out = attention(q_BMNK, context.text.k_BTNK, context.text.v_BTNK, bias_BT=text_bias_BT)
        if context.image is not None:
            out = out + attention(q_BMNK, context.image.k_BTNK, context.image.v_BTNK)
        return self.o(out.flatten(2))


class Block(nn.Module):
    """Self-attention, cross-attention and feed-forward, the first and the last modulated by the timestep."""

    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        self.eps = config.eps
        self.self_attn = SelfAttention(config)
        self.norm3 = LayerNorm(config.dim, config.eps)
        self.cross_attn = CrossAttention(config)
        self.ffn = nn.Sequential(
            Linear(config.dim, config.ffn_dim), nn.GELU(approximate="tanh"), Linear(config.ffn_dim, config.dim)
        )
        # Not randn / x: on the meta device that division imports the compiler, 0.8 s of every load.
        self.modulation = nn.Parameter(torch.empty(1, 6, config.dim).normal_(std=config.dim**-0.5))

    def forward(
        self,
        x_BMD: Tensor,
        context: BlockCondition,
        *,
        time_BS6D: Tensor,
        text_bias_BT: Tensor | None,
        rope_MK: Tensor,
        parallel: SequenceParallel,
        num_tokens: int,
    ) -> Tensor:
        shift, scale, gate, ffn_shift, ffn_scale, ffn_gate = (self.modulation.float()[:, None] + time_BS6D).unbind(2)
        normed = modulated_norm(x_BMD, scale_BSD=scale, shift_BSD=shift, eps=self.eps)
        attended = self.self_attn(normed, rope_MK, parallel=parallel, num_tokens=num_tokens)
        x_BMD = gated_sum(x_BMD, attended, gate_BSD=gate)
        x_BMD = x_BMD + self.cross_attn(self.norm3(x_BMD), context, text_bias_BT=text_bias_BT)
        normed = modulated_norm(x_BMD, scale_BSD=ffn_scale, shift_BSD=ffn_shift, eps=self.eps)
        return gated_sum(x_BMD, self.ffn(normed), gate_BSD=ffn_gate)


class VaceBlock(Block):
    """A copy of a block that walks beside the main ones over the control context (VACE)."""

    def __init__(self, config: DiTConfig, *, is_first: bool) -> None:
        super().__init__(config)
        if is_first:
            self.before_proj = Linear(config.dim, config.dim)
        self.after_proj = Linear(config.dim, config.dim)


class Head(nn.Module):
    """The last modulated norm and the projection to patches."""

    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        t, h, w = config.patch_size
        self.eps = config.eps
        self.head = Linear(config.dim, config.out_channels * t * h * w)
        self.modulation = nn.Parameter(torch.empty(1, 2, config.dim).normal_(std=config.dim**-0.5))

    def forward(self, x_BMD: Tensor, time_BSD: Tensor) -> Tensor:
        shift, scale = (self.modulation.float()[:, None] + time_BSD[:, :, None]).unbind(2)
        return self.head(modulated_norm(x_BMD, scale_BSD=scale, shift_BSD=shift, eps=self.eps))


class ImageEmbedding(nn.Module):
    """CLIP's image states to the DiT's width; FLF2V adds a learned position to its two images' tokens."""

    def __init__(self, config: DiTConfig, image_dim: int) -> None:
        super().__init__()
        self.proj = nn.Sequential(
            LayerNorm(image_dim, 1e-5),
            Linear(image_dim, image_dim),
            nn.GELU(),
            Linear(image_dim, config.dim),
            LayerNorm(config.dim, 1e-5),
        )
        if config.image_tokens is not None:
            self.emb_pos = nn.Parameter(torch.zeros(1, config.image_tokens, image_dim))

    def forward(self, image_BTD: Tensor) -> Tensor:
        if hasattr(self, "emb_pos"):
            image_BTD = image_BTD + self.emb_pos.to(image_BTD.dtype)
        projected: Tensor = self.proj(image_BTD)
        return projected
