"""What the model hands to its parallelism, as values: on one rank each move is the identity.

Legend: B batch, L tokens of the whole clip, M tokens on this rank, N heads, D model, K head dim, C channels, F frames,
H height, W width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from torch import Tensor

from wan_model.attention import attention

T = TypeVar("T")


class SequenceParallel(Protocol):
    """Shares the tokens of one clip among `degree` ranks; the sequence is padded to a multiple of it."""

    @property
    def degree(self) -> int: ...

    def split_tokens(self, x_BLD: Tensor) -> Tensor:
        """This rank's share (B, M, ...) of the sequence, padded with zeros."""
        ...

    def gather_tokens(self, x_BMD: Tensor, num_tokens: int) -> Tensor:
        """The whole sequence (B, num_tokens, ...) on every rank, padding dropped."""
        ...

    def attend(self, q_BMNK: Tensor, k_BMNK: Tensor, v_BMNK: Tensor, num_tokens: int) -> Tensor:
        """Attention of this rank's tokens to the clip's `num_tokens`: (B, M, N, K). Padding is attended by none."""
        ...


class GuidanceParallel(Protocol):
    """Shares the passes of a guided step, the text to follow and the text to avoid, among `degree` ranks."""

    @property
    def degree(self) -> int: ...

    def share(self, passes: Sequence[T]) -> Sequence[T]:
        """The passes that this rank computes."""
        ...

    def gather(self, answer: Tensor) -> list[Tensor]:
        """The answers of all ranks, in the order of the passes."""
        ...


class RowShare(Protocol):
    """One rank's rows of every frame of a clip: `start` to `stop`, in rows of latents."""

    @property
    def start(self) -> int: ...

    @property
    def stop(self) -> int: ...

    @property
    def above(self) -> int:
        """1 where another rank has rows above these, 0 at the frame's own border."""
        ...

    @property
    def below(self) -> int: ...

    def fill_borders(self, x_BCFHW: Tensor) -> None:
        """Overwrites row 0 (if `above`) and row -1 (if `below`) with the neighbours' nearest rows."""
        ...

    def gather(self, pixels_FHWC: Tensor) -> Tensor | None:
        """The frames with the rows of all ranks: on the first rank; None on the others."""
        ...

    def all_true(self, flag: bool) -> bool:
        """Whether the flag is true on every rank."""
        ...


class RowParallel(Protocol):
    """Shares the rows of frames among `degree` ranks where the VAE decodes."""

    @property
    def degree(self) -> int: ...

    def share(self, num_rows: int) -> RowShare:
        """This rank's part of a clip with so many rows of latents."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Parallel:
    """How one clip is shared among ranks. `is_first` is true on the one rank that hands on frames and states."""

    sequence: SequenceParallel
    guidance: GuidanceParallel
    rows: RowParallel
    is_first: bool


class WholeSequence:
    """All tokens are here."""

    degree = 1

    def split_tokens(self, x_BLD: Tensor) -> Tensor:
        return x_BLD

    def gather_tokens(self, x_BMD: Tensor, num_tokens: int) -> Tensor:
        return x_BMD

    def attend(self, q_BMNK: Tensor, k_BMNK: Tensor, v_BMNK: Tensor, num_tokens: int) -> Tensor:
        return attention(q_BMNK, k_BMNK, v_BMNK)


class AllPasses:
    """This rank computes every pass."""

    degree = 1

    def share(self, passes: Sequence[T]) -> Sequence[T]:
        return passes

    def gather(self, answer: Tensor) -> list[Tensor]:
        return [answer]


@dataclass(frozen=True, slots=True, kw_only=True)
class AllRows:
    """Frames are whole."""

    stop: int
    start: int = 0
    above: int = 0
    below: int = 0

    def fill_borders(self, x_BCFHW: Tensor) -> None:
        """There are none but the frame's own."""

    def gather(self, pixels_FHWC: Tensor) -> Tensor | None:
        return pixels_FHWC

    def all_true(self, flag: bool) -> bool:
        return flag


class WholeFrames:
    """This rank decodes all rows."""

    degree = 1

    def share(self, num_rows: int) -> RowShare:
        return AllRows(stop=num_rows)


WHOLE_SEQUENCE = WholeSequence()
SINGLE = Parallel(sequence=WHOLE_SEQUENCE, guidance=AllPasses(), rows=WholeFrames(), is_first=True)
"""One rank, which does everything."""
