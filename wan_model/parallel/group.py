"""Processes that share a clip: `join` turns this one into a rank among them.

Ranks are laid out with the Ulysses axis innermost, so that its exchanges, the most and the largest, stay on one host:
rank = guidance rank * ulysses_degree + ulysses rank. The VAE's rows are shared among all of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

import torch
import torch.distributed as dist
from torch.distributed.distributed_c10d import Store

from wan_model.config import DiTConfig
from wan_model.parallel.guidance import SplitGuidance
from wan_model.parallel.rows import SplitRows
from wan_model.parallel.seam import SINGLE, Parallel, SequenceParallel
from wan_model.parallel.ulysses import UlyssesSequence

Ulysses = Literal["deepspeed", "torch"]

_MOST_PASSES = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """This process among its ranks. `control` is a group on the CPU for small decisions; None alone."""

    parallel: Parallel
    control: dist.ProcessGroup | None = None

    def agree(self, flag: bool) -> bool:
        """The first rank's flag, on every rank."""
        if self.control is None:
            return flag
        told = torch.tensor(int(flag))
        dist.broadcast(told, 0, group=self.control)
        return bool(told)

    def close(self) -> None:
        """Leaves the group; the process may join another."""
        if self.control is not None:
            dist.destroy_process_group()


def join(
    store: Store,
    *,
    rank: int,
    ulysses_degree: int,
    cfg_degree: int,
    device: str | torch.device,
    timeout_s: float,
    ulysses: Ulysses = "torch",
) -> Group:
    """Becomes rank `rank` of `ulysses_degree * cfg_degree` processes that meet at `store`; returns when all are there.

    The backend is NCCL on CUDA, gloo elsewhere. A process alone (both degrees 1) joins nothing.

    Args:
        timeout_s: how long any exchange may wait for another rank before it raises.
        ulysses: whose all-to-all surrounds attention: PyTorch's, or DeepSpeed's layer.

    Raises:
        ValueError: no such world, or no such rank in it.
    """
    faults = _world_faults(ulysses_degree, cfg_degree)
    world_size = ulysses_degree * cfg_degree
    if not faults and not 0 <= rank < world_size:
        faults = [f"rank is {rank}: from 0 to {world_size - 1}"]
    if faults:
        raise ValueError("; ".join(faults))
    if world_size == 1:
        return Group(parallel=SINGLE)
    device, timeout = torch.device(device), timedelta(seconds=timeout_s)
    is_cuda = device.type == "cuda"
    dist.init_process_group(
        "nccl" if is_cuda else "gloo",
        store=store,
        rank=rank,
        world_size=world_size,
        timeout=timeout,
        device_id=device if is_cuda else None,
    )
    return _group(rank, ulysses_degree, cfg_degree, device=device, timeout=timeout, ulysses=ulysses)


def parallel_faults(config: DiTConfig, *, ulysses_degree: int, cfg_degree: int = 1) -> list[str]:
    """Why a model's clips cannot be shared so, one sentence each; empty if they can."""
    faults = _world_faults(ulysses_degree, cfg_degree)
    if not faults and config.num_heads % ulysses_degree:
        faults.append(f"ulysses_degree is {ulysses_degree}: a divisor of the model's {config.num_heads} heads")
    return faults


def _world_faults(ulysses_degree: int, cfg_degree: int) -> list[str]:
    faults = []
    if ulysses_degree < 1:
        faults.append(f"ulysses_degree is {ulysses_degree}: at least 1")
    if not 1 <= cfg_degree <= _MOST_PASSES:
        faults.append(f"cfg_degree is {cfg_degree}: 1, or {_MOST_PASSES} for the two passes of guidance")
    return faults


def _group(
    rank: int, ulysses_degree: int, cfg_degree: int, *, device: torch.device, timeout: timedelta, ulysses: Ulysses
) -> Group:
    world = dist.group.WORLD
    if world is None:
        raise RuntimeError("no process group though it was just made")
    control = dist.new_group(backend="gloo", timeout=timeout) if device.type == "cuda" else world
    ranks = torch.arange(ulysses_degree * cfg_degree).view(cfg_degree, ulysses_degree)
    sequence, guidance = _axis(rank, ranks, timeout), _axis(rank, ranks.T, timeout)
    return Group(
        control=control,
        parallel=Parallel(
            sequence=SINGLE.sequence if sequence is None else _sequence(sequence, device.type, ulysses),
            guidance=SINGLE.guidance if guidance is None else SplitGuidance(guidance),
            rows=SplitRows(world, control=control),
            is_first=rank == 0,
        ),
    )


def _axis(rank: int, lines: torch.Tensor, timeout: timedelta) -> dist.ProcessGroup | None:
    """This rank's group along an axis of the world; every rank makes every group, in the same order."""
    if lines.shape[1] == 1:
        return None
    if len(lines) == 1:
        return dist.group.WORLD
    groups = [(line, dist.new_group(line, timeout=timeout)) for line in lines.tolist()]
    return next(group for line, group in groups if rank in line)


def _sequence(group: dist.ProcessGroup, device_type: str, ulysses: Ulysses) -> SequenceParallel:
    if ulysses == "torch":
        return UlyssesSequence(group)
    from wan_model.parallel.deepspeed import DeepSpeedSequence

    return DeepSpeedSequence(group, device_type)
