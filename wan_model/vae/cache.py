"""What a clip's way through the VAE keeps between its chunks: made for one clip, dropped with it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from wan_model.vae import winograd
from wan_model.vae.layers import CausalConv3d, RMSNorm


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


class InferenceCache(FrameCache):
    """The same answers without gradients, sooner: frames are written once, behind their past, and transformed
    weights are kept until the clip's end.
    """

    def __init__(self) -> None:
        super().__init__()
        self._windows: dict[tuple[int, ...], Tensor] = {}
        self._taps: dict[nn.Module, winograd.Taps] = {}

    def extend(self, convolution: CausalConv3d, x: Tensor, norm: RMSNorm | None = None) -> Tensor:
        past = self._past.get(convolution)
        if past is None:
            return super().extend(convolution, x, norm)
        window = self._window(x, past, convolution.history)
        present = window[:, :, convolution.history :]
        present.copy_(x) if norm is None else norm.silu(x, out=present)
        self._past[convolution] = window[:, :, -convolution.history :].clone(memory_format=torch.preserve_format)
        return self._convolve(convolution, window)

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

    def _convolve(self, convolution: CausalConv3d, window: Tensor) -> Tensor:
        if not winograd.pays(window, convolution.weight):
            return convolution.convolve(window)
        if convolution not in self._taps:
            self._taps[convolution] = winograd.transform(convolution.weight.to(window.dtype))
        return winograd.convolve(window, self._taps[convolution], convolution.bias.to(window.dtype))
