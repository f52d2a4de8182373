"""How the ranks of one gang share a clip, and what may be asked of whoever chooses that."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, get_args

Goal = Literal["throughput", "latency"]
"""Most clips an hour, or each clip soonest."""


ExpertPools = Literal["auto", "on", "off"]
"""Whether the two experts of a model go to gangs of their own; "auto": where a device cannot hold both."""

EXPERT_POOLS: tuple[str, ...] = get_args(ExpertPools)

Exchange = Literal["torch", "deepspeed"]
"""Whose all-to-all moves tokens between ranks; both give the same bits."""

EXCHANGES: tuple[str, ...] = get_args(Exchange)


@dataclass(frozen=True, slots=True, kw_only=True)
class ParallelPlan:
    """Two axes of ranks, spread over hosts in equal parts.

    Args:
        ulysses_degree: ranks that share the tokens of a pass (DeepSpeed-Ulysses); divides the model's heads.
        cfg_degree: 2 where the two passes of guidance run side by side, else 1.
        num_hosts: machines that the gang spans.
    """

    ulysses_degree: int = 1
    cfg_degree: int = 1
    num_hosts: int = 1

    @property
    def degree(self) -> int:
        """Ranks of the gang."""
        return self.ulysses_degree * self.cfg_degree

    @property
    def ranks_per_host(self) -> int:
        return self.degree // self.num_hosts

    def __str__(self) -> str:
        """As records name it: "ulysses=4 cfg=2"."""
        return f"ulysses={self.ulysses_degree} cfg={self.cfg_degree}"

    @classmethod
    def parse(cls, text: str) -> ParallelPlan:
        """The inverse of `str`, on one host. ValueError for anything else."""
        found = re.fullmatch(r"ulysses=(\d+) cfg=(\d+)", text)
        if found is None:
            raise ValueError(f"not how ranks share a clip: {text!r}")
        return cls(ulysses_degree=int(found[1]), cfg_degree=int(found[2]))


ONE_RANK = ParallelPlan()


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What was asked for; None leaves it to the planner (`farm.degrees`)."""

    ulysses_degree: int | None = None
    cfg_degree: int | None = None
    num_hosts: int | None = None
    goal: Goal | None = None
    expert_pools: ExpertPools = "auto"
