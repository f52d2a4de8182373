"""Which devices there are, how clips are shared among them, and how many gangs of how many threads go onto them."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from farm.calibration import device_kind
from farm.cost import Fleet
from farm.degrees import Choice, Demand, Hardware, choose
from farm.errors import UsageError
from farm.experts import NO_STEPS, PoolSizes, StepSplit, pool_sizes
from farm.parallelism import ParallelPlan, Wanted

# Left to the text encoders, the driver and Ray itself, of what a machine of CPUs can do.
ENCODER_CPUS = 0.05
RENDER_SHARE = 0.8
# Of a machine's memory, to renderers of a model that is short of it.
MEMORY_SHARE = 0.8

# Of a machine that is only planned for.
GPUS_PER_NODE = 8

# The Ray node label of nodes that are for text encoders and nothing else (k8s/ sets it on a worker group).
POOL_LABEL = "wanfarm.io/pool"
TEXT_POOL = "text"

_DRIVER = Path("/proc/driver/nvidia/gpus")


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What a cluster (or this machine) offers. `device` is the kind of its GPUs, "cpu" where it has none.

    `memory_bytes` are its hosts', `devices_per_node` those (GPUs, or cores) of the node that has most. `num_text_nodes`
    are for text encoders alone: only `num_nodes` counts them as well.
    """

    num_nodes: int
    num_cpus: int
    num_gpus: int
    memory_bytes: int
    device: str
    devices_per_node: int
    num_text_nodes: int = 0

    @property
    def hardware(self) -> Hardware:
        """The same as the planner of degrees sees it."""
        num_devices = self.num_gpus or self.num_cpus
        return Hardware(device=self.device, num_devices=num_devices, per_node=min(num_devices, self.devices_per_node))


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """How the render stage is spread: `num_workers` gangs; `threads` are those of each rank.

    A gang's leader holds `cpus_per_worker` and `gpus_per_worker` for all its ranks; where they are on several hosts, a
    placement group of the gang's own holds its devices and the leader none.
    """

    num_workers: int
    threads: int
    cpus_per_worker: float
    gpus_per_worker: int
    device: str
    choice: Choice
    split: StepSplit = NO_STEPS

    @property
    def pools(self) -> PoolSizes | None:
        """Over all clips, as each segment deals gangs out by its own."""
        return pool_sizes(self.split, self.num_workers) if self.choice.has_pools else None

    @property
    def parallel(self) -> ParallelPlan:
        return self.choice.parallel

    @property
    def torch_device(self) -> str:
        """As torch names the kind."""
        return "cpu" if self.device == "cpu" else "cuda"

    @property
    def fleet(self) -> Fleet:
        """The same as the cost model sees it."""
        return Fleet(
            device=self.device,
            num_actors=self.num_workers,
            threads=self.threads,
            parallel=self.choice.parallel,
            tiles=self.choice.tiles,
            fits=self.choice.fits,
            reasons=(*self.choice.reasons, *_dealt_out(self)),
            pools=self.pools,
        )


def this_machine() -> Machine:
    """What is here, found without loading torch or Ray."""
    gpus = sorted(_DRIVER.glob("*/information")) if _DRIVER.is_dir() else []
    num_cpus = len(os.sched_getaffinity(0))
    return Machine(
        num_nodes=1,
        num_cpus=num_cpus,
        num_gpus=len(gpus),
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        device=_gpu_kind(gpus[0]) if gpus else "cpu",
        devices_per_node=len(gpus) or num_cpus,
    )


def imagined_machine(device: str | None, num_devices: int | None) -> Machine:
    """One that a plan is made for, though it is not here: devices of this machine's kind where none is named."""
    here = this_machine()
    kind = here.device if device is None else device_kind(device)
    count = num_devices or 1
    num_cpus = count if kind == "cpu" else here.num_cpus
    num_nodes = 1 if kind == "cpu" else -(-count // GPUS_PER_NODE)
    return Machine(
        num_nodes=num_nodes,
        num_cpus=num_cpus,
        num_gpus=0 if kind == "cpu" else count,
        memory_bytes=here.memory_bytes * num_nodes,
        device=kind,
        devices_per_node=count if kind == "cpu" else min(count, GPUS_PER_NODE),
    )


def lay_out(
    machine: Machine,
    demands: Sequence[Demand],
    *,
    wanted: Wanted,
    threads: int | None,
    workers: int | None,
) -> Layout:
    """As many gangs as fit, of the degree that is chosen for the clips.

    On CPUs each rank gets the threads that are left to it; one thread and many gangs is the fastest for small models,
    and memory decides otherwise for large ones. UsageError for counts that cannot be, and for a cluster of nothing.
    """
    if machine.hardware.num_devices < 1:
        raise UsageError("the cluster has no devices to render on: wait for its nodes, or have it bring some by --gpus")
    for name, count in (("--threads", threads), ("--workers", workers)):
        if count is not None and count < 1:
            raise UsageError(f"{name} must be at least 1, not {count}")
    choice = choose(demands, machine.hardware, wanted)
    if choice.has_pools and workers is not None and workers < 2:
        raise UsageError(f"--workers must be at least 2 for two expert pools, not {workers}")
    degree, num_hosts = choice.parallel.degree, choice.parallel.num_hosts
    most = max(1, machine.hardware.num_devices // degree)
    if machine.num_gpus:
        num_workers = min(workers or most, most)
        threads = threads or max(1, machine.num_cpus // (num_workers * degree))
        # GPUs are what bounds these gangs; their share of CPUs only has to fit.
        share = 0.5 * degree
    else:
        fewest = 2 if choice.has_pools else 1
        num_workers = workers or max(fewest, min(_fitting(machine, demands, choice), most // (threads or 1)))
        threads = threads or max(1, machine.num_cpus // (num_workers * degree))
        share = float(threads * degree)
    is_spread = num_hosts > 1
    return Layout(
        num_workers=num_workers,
        threads=threads,
        cpus_per_worker=ENCODER_CPUS if is_spread else min(share, RENDER_SHARE * machine.num_cpus / num_workers),
        gpus_per_worker=degree if machine.num_gpus and not is_spread else 0,
        device=machine.device,
        choice=choice,
        split=sum((demand.split for demand in demands), NO_STEPS),
    )


def _fitting(machine: Machine, demands: Sequence[Demand], choice: Choice) -> int:
    """Gangs of CPUs that the hosts' memory holds at once."""
    gang_bytes = [
        demand.need.held(has_pools=choice.has_pools)
        .memory("cpu", parallel=choice.parallel, tiles=choice.tiles)
        .host_bytes
        for demand in demands
    ]
    return max(1, int(MEMORY_SHARE * machine.memory_bytes) // max(gang_bytes, default=1))


def _dealt_out(layout: Layout) -> list[str]:
    """The sentence on expert pools, where there are any."""
    pools, split = layout.pools, layout.split
    if pools is None:
        return []
    share = split.high / max(1, split.high + split.low)
    gangs = f"{layout.num_workers} gangs: {pools.high} for the high-noise expert, {pools.low} for the low-noise one"
    return [f"{gangs}, as {share:.0%} and {1 - share:.0%} of all steps are theirs"]


def _gpu_kind(information: Path) -> str:
    found = re.search(r"^Model:\s*(.+)$", information.read_text(), re.MULTILINE)
    return device_kind(found[1]) if found else "gpu"
