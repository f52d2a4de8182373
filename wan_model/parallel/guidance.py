"""Guidance (CFG) parallelism: of two ranks one follows the prompt and the other avoids the negative."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

T = TypeVar("T")


class SplitGuidance:
    """A pass of each guided step on each rank of a process group."""

    def __init__(self, group: dist.ProcessGroup) -> None:
        self._group = group
        self.degree = group.size()
        self._rank = group.rank()

    def share(self, passes: Sequence[T]) -> Sequence[T]:
        """One pass; all of them where there are not as many as ranks (guidance 1: each rank does the same)."""
        return passes[self._rank : self._rank + 1] if len(passes) == self.degree else passes

    def gather(self, answer: Tensor) -> list[Tensor]:
        mine = answer.contiguous()
        answers = [torch.empty_like(mine) for _ in range(self.degree)]
        dist.all_gather(answers, mine, group=self._group)
        return answers
