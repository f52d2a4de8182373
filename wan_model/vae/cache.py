"""What a clip's way through the VAE keeps between its chunks: made for one clip, dropped with it."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

import torch
from torch import Tensor, nn

from wan_model.parallel.seam import AllRows, RowShare
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

    def with_borders(self, x: Tensor) -> Tensor:
        """Rows (B, C, F, H, W) and the one that a 3x3 convolution needs beyond each side of them that another has."""
        return x

    def without_borders(self, y: Tensor, *, num_rows: int = 1) -> Tensor:
        """A convolution's answer to `with_borders`, cut to this rank's rows: `num_rows` less for a border row."""
        return y


class InferenceCache(FrameCache):
    """The same answers without gradients, sooner.

    Frames are written once, behind their past, and what is prepared of the weights is kept until the clip's end.
    Given a share of the rows, each 3x3 convolution sees one row more on the sides where other ranks have rows, and what
    its own padding spoilt there is cut off: no work is done twice but on those rows.
    """

    def __init__(self, rows: RowShare | None = None) -> None:
        super().__init__()
        self._rows = rows or AllRows(stop=0)
        self._windows: dict[tuple[int, ...], Tensor] = {}
        self._prepared: dict[Hashable, Any] = {}

    def extend(self, convolution: CausalConv3d, x: Tensor, norm: RMSNorm | None = None) -> Tensor:
        past, history, is_spatial = self._past.get(convolution), convolution.history, convolution.weight.shape[3] > 1
        if past is None:
            activated = x if norm is None else norm.silu(x)
            y = super().extend(convolution, self.with_borders(activated) if is_spatial else activated)
            return self.without_borders(y) if is_spatial else y
        window = self._window(past, history, num_frames=x.shape[2])
        present = window[:, :, history:]
        own = self.without_borders(present) if is_spatial else present
        own.copy_(x) if norm is None else norm.silu(x, out=own)
        if is_spatial:
            self._rows.fill_borders(present)
        self._past[convolution] = window[:, :, -history:].clone(memory_format=torch.preserve_format)
        num_frames = x.shape[2]
        answer: winograd.Filter = self.prepared((convolution, num_frames), lambda: _fastest(convolution, window))
        return self.without_borders(answer(window)) if is_spatial else answer(window)

    def with_borders(self, x: Tensor) -> Tensor:
        above, below = self._rows.above, self._rows.below
        if not above and not below:
            return x
        batch, channels, frames, height, width = x.shape
        wide = x.new_empty(batch, frames, above + height + below, width, channels).movedim(-1, 1)
        self.without_borders(wide).copy_(x)
        self._rows.fill_borders(wide)
        return wide

    def without_borders(self, y: Tensor, *, num_rows: int = 1) -> Tensor:
        return y[:, :, :, self._rows.above * num_rows : y.shape[3] - self._rows.below * num_rows]

    def prepared(self, key: Hashable, prepare: Callable[[], Any]) -> Any:
        if key not in self._prepared:
            self._prepared[key] = prepare()
        return self._prepared[key]

    def _window(self, past: Tensor, history: int, *, num_frames: int) -> Tensor:
        """Frames as (B, C, history + F, H, W), the past in front: one buffer for all convolutions of the shape."""
        batch, channels, _, height, width = past.shape
        shape = (batch, history + num_frames, height, width, channels)
        if shape not in self._windows:
            self._windows[shape] = torch.empty(shape, dtype=past.dtype, device=past.device)
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
