"""Rows of a frame on several ranks, which tell each other the rows at their borders.

Legend: B batch, C channels, F frames, H height, W width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor


class SplitRows:
    """Rows shared among a process group as evenly as they divide. Ranks beyond the number of rows have none."""

    def __init__(self, group: dist.ProcessGroup, *, control: dist.ProcessGroup) -> None:
        self._group = group
        self._control = control
        self.degree = group.size()

    def share(self, num_rows: int) -> SharedRows:
        whole, rest = divmod(num_rows, self.degree)
        starts = tuple(rank * whole + min(rank, rest) for rank in range(self.degree + 1))
        return SharedRows(starts=starts, group=self._group, control=self._control)


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedRows:
    """Rank r has the rows `starts[r]` to `starts[r + 1]`; ranks without rows come last."""

    starts: tuple[int, ...]
    group: dist.ProcessGroup
    control: dist.ProcessGroup

    @property
    def start(self) -> int:
        return self.starts[self.group.rank()]

    @property
    def stop(self) -> int:
        return self.starts[self.group.rank() + 1]

    @property
    def above(self) -> int:
        return int(0 < self.start < self.stop)

    @property
    def below(self) -> int:
        return int(self.start < self.stop < self.starts[-1])

    def fill_borders(self, x_BCFHW: Tensor) -> None:
        rank = self.group.rank()
        last = x_BCFHW.shape[3] - 1
        borders = [(rank - 1, 1, 0)] * self.above + [(rank + 1, last - 1, last)] * self.below
        received, moves = [], []
        for neighbour, nearest, beyond in borders:
            row = torch.empty_like(x_BCFHW[:, :, :, beyond], memory_format=torch.contiguous_format)
            moves.append(dist.P2POp(dist.isend, x_BCFHW[:, :, :, nearest].contiguous(), neighbour, self.group))
            moves.append(dist.P2POp(dist.irecv, row, neighbour, self.group))
            received.append((beyond, row))
        for work in dist.batch_isend_irecv(moves) if moves else ():
            work.wait()
        for beyond, row in received:
            x_BCFHW[:, :, :, beyond] = row

    def gather(self, pixels_FHWC: Tensor) -> Tensor | None:
        if self.group.rank():
            if self.start < self.stop:
                dist.send(pixels_FHWC.contiguous(), 0, group=self.group)
            return None
        num_frames, height, width, channels = pixels_FHWC.shape
        scale = height // self.stop
        frames = pixels_FHWC.new_empty(num_frames, self.starts[-1] * scale, width, channels)
        frames[:, :height] = pixels_FHWC
        for rank in range(1, self.group.size()):
            start, stop = self.starts[rank] * scale, self.starts[rank + 1] * scale
            if start < stop:
                rows = pixels_FHWC.new_empty(num_frames, stop - start, width, channels)
                dist.recv(rows, rank, group=self.group)
                frames[:, start:stop] = rows
        return frames

    def all_true(self, flag: bool) -> bool:
        told = torch.tensor(int(flag))
        dist.all_reduce(told, dist.ReduceOp.MIN, group=self.control)
        return bool(told)
