"""What a clip's way through the VAE keeps between its chunks: made for one clip, dropped with it."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

import torch
from torch import Tensor, nn

from wan_model.vae import winograd
from wan_model.vae.layers import CausalConv3d, RMSNorm, lay_out


class FrameCache:
    """The last frames that each temporal convolution has seen. One without an entry is at the clip's start."""

    def __init__(self) -> None:
        self._past: dict[nn.Module, Tensor] = {}

    def past(self, convolution: CausalConv3d) -> Tensor | None:
        return self._past.get(convolution)

    def remember(self, convolution: CausalConv3d, past: Tensor) -> None:
        self._past[convolution] = past

    def extend(self, convolution: CausalConv3d, x: Tensor, norm: RMSNorm | None = None) -> Tensor:
        """The convolution's answer to the next frames (B, C, F, H, W), or to SiLU of their norm. They join its past."""
        activated = x if norm is None else norm.silu(x)
        y, self._past[convolution] = convolution(activated, self._past.get(convolution))
        return y

    def prepared(self, key: Hashable, prepare: Callable[[], Any]) -> Any:
        """What `prepare` makes of weights: anew here, for gradients pass through it."""
        return prepare()


class InferenceCache(FrameCache):
    """The same answers without gradients, sooner.

    Frames are written once, behind their past, and what is prepared of the weights is kept until the clip's end.
    """

    def __init__(self) -> None:
        super().__init__()
        self._windows: dict[tuple[int, ...], Tensor] = {}
        self._prepared: dict[Hashable, Any] = {}

    def extend(self, convolution: CausalConv3d, x: Tensor, norm: RMSNorm | None = None) -> Tensor:
        past, history = self._past.get(convolution), convolution.history
        if past is None:
            return super().extend(convolution, x, norm)
        window = self._window(x, past, history)
        present = window[:, :, history:]
        present.copy_(x) if norm is None else norm.silu(x, out=present)
        self._past[convolution] = window[:, :, -history:].clone(memory_format=torch.preserve_format)
        num_frames = x.shape[2]
        answer: winograd.Filter = self.prepared((convolution, num_frames), lambda: _fastest(convolution, window))
        return answer(window)

    def prepared(self, key: Hashable, prepare: Callable[[], Any]) -> Any:
        if key not in self._prepared:
            self._prepared[key] = prepare()
        return self._prepared[key]

    def _window(self, x: Tensor, past: Tensor, history: int) -> Tensor:
        """Frames as (B, C, history + F, H, W), the past in front: one buffer for all convolutions of the shape."""
        batch, channels, frames, height, width = x.shape
        shape = (batch, history + frames, height, width, channels)
        if shape not in self._windows:
            self._windows[shape] = torch.empty(shape, dtype=x.dtype, device=x.device)
        window = self._windows[shape].movedim(-1, 1)
        missing = history - past.shape[2]
        window[:, :, :missing].zero_()
        window[:, :, missing:history].copy_(past)
        return window


def _fastest(convolution: CausalConv3d, window: Tensor) -> winograd.Filter:
    """The quickest way to `convolution.convolve` windows of this shape, its weights prepared.

    Only CPUs were measured: elsewhere the convolution is PyTorch's own, and no second copy of weights is held.
    """
    if window.device.type != "cpu" or convolution.weight.shape[2:] != (3, 3, 3):
        return convolution.convolve
    weight, bias = convolution.weight.to(window.dtype), convolution.bias.to(window.dtype)
    num_frames = window.shape[2] - convolution.history
    if window.dtype != torch.float32:  # transformed sums would lose digits, and products are cheap
        return lay_out(weight, bias)
    if num_frames % 2:
        return convolution.convolve
    return winograd.filter_pairs(weight, bias) if num_frames % 4 else winograd.filter_quads(weight, bias)
