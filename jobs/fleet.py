"""Which devices there are, and how many render workers of how many threads go onto them."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from farm.calibration import device_kind
from farm.cost import Fleet
from farm.errors import UsageError

# Left to the text encoders, the driver and Ray itself, of what a machine of CPUs can do.
ENCODER_CPUS = 0.1
RENDER_SHARE = 0.8

_DRIVER = Path("/proc/driver/nvidia/gpus")


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What a cluster (or this machine) offers. `device` is the kind of its GPUs, "cpu" where it has none."""

    num_nodes: int
    num_cpus: int
    num_gpus: int
    memory_bytes: int
    device: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """How the render stage is spread: `num_workers` processes, each with so many threads and shares of devices."""

    num_workers: int
    threads: int
    cpus_per_worker: float
    gpus_per_worker: int
    device: str

    @property
    def fleet(self) -> Fleet:
        """The same as the cost model sees it."""
        return Fleet(device=self.device, num_actors=self.num_workers, threads=self.threads)


def this_machine() -> Machine:
    """What is here, found without loading torch or Ray."""
    gpus = sorted(_DRIVER.glob("*/information")) if _DRIVER.is_dir() else []
    return Machine(
        num_nodes=1,
        num_cpus=len(os.sched_getaffinity(0)),
        num_gpus=len(gpus),
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        device=_gpu_kind(gpus[0]) if gpus else "cpu",
    )


def lay_out(machine: Machine, *, threads: int | None, workers: int | None, host_bytes: int) -> Layout:
    """As many workers as fit; `host_bytes` is what one needs of host memory, 0 where that is unknown.

    On CPUs each worker gets the threads that are left to it; one thread and many workers is the fastest for small
    models, and memory decides otherwise for large ones. UsageError for counts that cannot be.
    """
    for name, count in (("--threads", threads), ("--workers", workers)):
        if count is not None and count < 1:
            raise UsageError(f"{name} must be at least 1, not {count}")
    if machine.num_gpus:
        num_workers = min(workers or machine.num_gpus, machine.num_gpus)
        threads = threads or max(1, machine.num_cpus // num_workers)
        # GPUs are what bounds these workers; their share of CPUs only has to fit.
        share = min(0.5, RENDER_SHARE * machine.num_cpus / num_workers)
        return Layout(
            num_workers=num_workers, threads=threads, cpus_per_worker=share, gpus_per_worker=1, device=machine.device
        )
    fitting = max(1, int(0.8 * machine.memory_bytes) // host_bytes) if host_bytes else machine.num_cpus
    num_workers = workers or max(1, min(fitting, machine.num_cpus // (threads or 1)))
    threads = threads or max(1, machine.num_cpus // num_workers)
    share = min(float(threads), RENDER_SHARE * machine.num_cpus / num_workers)
    return Layout(
        num_workers=num_workers, threads=threads, cpus_per_worker=share, gpus_per_worker=0, device=machine.device
    )


def _gpu_kind(information: Path) -> str:
    found = re.search(r"^Model:\s*(.+)$", information.read_text(), re.MULTILINE)
    return device_kind(found[1]) if found else "gpu"
