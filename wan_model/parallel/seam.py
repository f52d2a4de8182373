"""The seam at which a sequence-parallel group meets the DiT: four moves, each the identity on one device.

Legend: B batch, L tokens of the whole clip, M tokens on this rank, N heads, D model, K head dim.
"""

from __future__ import annotations

from typing import Protocol

from torch import Tensor


class SequenceParallel(Protocol):
    """Moves tokens between ranks. `degree` ranks share one clip; the token sequence is padded to a multiple of it."""

    @property
    def degree(self) -> int:
        """Ranks in the group."""
        ...

    def split_tokens(self, x_BLD: Tensor) -> Tensor:
        """This rank's share (B, M, ...) of the padded sequence."""
        ...

    def gather_tokens(self, x_BMD: Tensor, num_tokens: int) -> Tensor:
        """The whole sequence (B, num_tokens, ...) on every rank, padding dropped."""
        ...

    def scatter_heads(self, x_BMNK: Tensor, num_tokens: int) -> Tensor:
        """(B, M, N, K) -> (B, padded tokens or `num_tokens`, N / degree, K): all tokens of some heads."""
        ...

    def gather_heads(self, x_BLNK: Tensor) -> Tensor:
        """The inverse of `scatter_heads`: (B, L, N / degree, K) -> (B, M, N, K)."""
        ...


class SingleDevice:
    """One rank: nothing moves."""

    degree = 1

    def split_tokens(self, x_BLD: Tensor) -> Tensor:
        return x_BLD

    def gather_tokens(self, x_BMD: Tensor, num_tokens: int) -> Tensor:
        return x_BMD

    def scatter_heads(self, x_BMNK: Tensor, num_tokens: int) -> Tensor:
        return x_BMNK

    def gather_heads(self, x_BLNK: Tensor) -> Tensor:
        return x_BLNK


SINGLE = SingleDevice()
