"""GPUs that a cluster's autoscaler has yet to bring: waited for before clips are dealt out, so that they count."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

from farm.errors import Interrupted
from jobs.fleet import GPUS_PER_NODE, Machine

# Machines with GPUs take minutes to come, and images and weights some more.
PATIENCE_S = 1800.0
POLL_S = 1.0


def with_promised(machine: Machine, num_gpus: int | None) -> Machine:
    """The machine as it will be when it has that many GPUs, for estimates. Of what kind they are is seen when they are
    there."""
    if num_gpus is None or machine.num_gpus >= num_gpus:
        return machine
    per_node = machine.devices_per_node if machine.num_gpus else min(num_gpus, GPUS_PER_NODE)
    device = machine.device if machine.num_gpus else "gpu"
    return replace(machine, num_gpus=num_gpus, device=device, devices_per_node=per_node)


def summon(
    num_gpus: int,
    *,
    look: Callable[[], Machine],
    check: Callable[[], None],
    note: Callable[[str], None],
    patience_s: float = PATIENCE_S,
) -> Machine:
    """The cluster that this process has joined, when it has that many GPUs, or as many as came in time.

    What is asked for is a placement group: it makes an autoscaler act, and it goes with this driver however that ends.
    It is removed when the GPUs are there; gangs take them long before they count as idle.

    Args:
        look: what the cluster has now.
        check: is called once a second and may raise.

    Raises:
        Interrupted: not one GPU came.
    """
    from ray.util.placement_group import placement_group, remove_placement_group

    machine = look()
    if machine.num_gpus >= num_gpus:
        return machine
    note(f"{machine.num_gpus} of {num_gpus} GPUs are there; asking the cluster for the others")
    group = placement_group([{"GPU": 1}] * num_gpus, strategy="PACK")
    try:
        until_s = time.monotonic() + patience_s
        while machine.num_gpus < num_gpus and time.monotonic() < until_s:
            check()
            time.sleep(POLL_S)
            machine = look()
    finally:
        with suppress(Exception):  # a cluster that is gone has forgotten it
            remove_placement_group(group)
    if machine.num_gpus == 0:
        raise Interrupted(f"no GPU came within {patience_s:.0f} s; run the same command again when there are some")
    if machine.num_gpus < num_gpus:
        note(f"{machine.num_gpus} of {num_gpus} GPUs came; going on with these")
    return machine
