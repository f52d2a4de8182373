"""Ranks on several hosts: a named placement group of one bundle per host, and in each an actor that starts its ranks.

Placement groups made inside Ray Data outlive what made them: the leader that Ray restarts removes the group of its
name before it makes another, and the driver reaps what is left when its data set is done.
"""

from __future__ import annotations

import fcntl
import socket
import struct
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, TypeVar

import ray
from ray.exceptions import RayError
from ray.util import get_node_ip_address
from ray.util.placement_group import (
    PlacementGroup,
    get_placement_group,
    placement_group,
    placement_group_table,
    remove_placement_group,
)
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from farm.errors import GangStartError
from farm.logs import LogSetup, begin_logs, current_setup
from farm.workers.engine import ModelPlan
from farm.workers.gang.launch import Nursery, rank_environment, shares_weights
from farm.workers.gang.remote import Reception

GROUP_PREFIX = "farm-gang-"
# Of a Ray call that only has to be answered, and of an actor whose process has to start.
ANSWER_S = 30.0
ACTOR_START_S = 180.0
# On a host that has no CPU beyond its ranks', leaders and text encoders still have to find room.
CPU_SHARE = 0.8
_SIOCGIFADDR = 0x8915
_T = TypeVar("_T")


class RankHost:
    """An actor in a bundle. Its ranks end with it."""

    def __init__(self) -> None:
        self._nursery = Nursery(folder=Path(tempfile.gettempdir()))

    def host(self) -> str:
        return str(get_node_ip_address())

    def start(self, plan: ModelPlan, *, first: int, address: str, key: bytes, logs: LogSetup) -> None:
        """Start this host's ranks, numbered from `first`, which call their leader at `address`."""
        begin_logs(logs)
        num_ranks, interface = plan.parallel.ranks_per_host, interface_of(self.host())
        if shares_weights(plan, num_ranks=num_ranks):
            self._nursery.share_weights()
        for position in range(num_ranks):
            rank = first + position
            environment = rank_environment(plan, position=position, num_ranks=num_ranks, interface=interface)
            self._nursery.spawn(rank, ["--connect", address], environment=environment, secret=key)

    def loaded(self) -> None:
        self._nursery.loaded()

    def lost(self) -> str | None:
        """How a rank of this host has ended; None while all are up."""
        return self._nursery.lost()

    def fate(self, rank: int) -> str:
        return self._nursery.processes[rank].fate()

    def stacks(self, ranks: Sequence[int]) -> str:
        return self._nursery.stacks([rank for rank in ranks if rank in self._nursery.processes])

    def wait(self, timeout_s: float) -> None:
        self._nursery.wait(timeout_s=timeout_s)

    def stop(self) -> None:
        self._nursery.clear()


class HostedRanks:
    """All ranks of a gang on as many hosts as its plan says. A `RankSet`.

    Args:
        place_s: the time to find them room.
        lent: a placement group that somebody else made and will remove, a bundle for each host; None makes one.
    """

    def __init__(self, plan: ModelPlan, *, place_s: float, lent: PlacementGroup | None = None) -> None:
        self._plan = plan
        self._place_s = place_s
        self._lent = lent
        self._name = group_name()
        self._group: PlacementGroup | None = None
        self._hosts = list[Any]()
        self._addresses = list[str]()

    @property
    def host(self) -> str:
        return self._addresses[0]

    def start(self, *, timeout_s: float) -> list[Connection]:
        if not self._hosts:
            self._assemble()
        reception, size = Reception(get_node_ip_address()), self._plan.parallel.ranks_per_host
        logs = current_setup(role="rank host")
        try:
            starts = [
                host.start.remote(
                    self._plan, first=index * size, address=reception.address, key=reception.key, logs=logs
                )
                for index, host in enumerate(self._hosts)
            ]
            self._answers(starts)
            return reception.admit(self._plan.parallel.degree, timeout_s=timeout_s, look=self._look)
        except RayError as error:
            raise GangStartError(f"a host of {self._name} was lost while its ranks started: {error}") from error
        finally:
            reception.close()

    def loaded(self) -> None:
        with suppress(RayError, GangStartError):  # a host that is lost: its ranks tell
            self._answers([host.loaded.remote() for host in self._hosts])

    def fate(self, rank: int) -> str:
        index = rank // self._plan.parallel.ranks_per_host
        try:
            said: str = within(ANSWER_S, lambda: ray.get(self._hosts[index].fate.remote(rank)))
        except (RayError, GangStartError) as error:
            return f"rank {rank} is gone with its host {self._addresses[index]} ({type(error).__name__})"
        return f"{said} (on {self._addresses[index]})"

    def stacks(self, ranks: Sequence[int]) -> str:
        said = []
        for host, address in zip(self._hosts, self._addresses, strict=True):
            try:
                said += self._answers([host.stacks.remote(ranks)])
            except (RayError, GangStartError) as error:
                said.append(f"no stacks of {address}: {type(error).__name__}")
        return "\n".join(said)

    def wait(self, *, timeout_s: float) -> None:
        with suppress(RayError, GangStartError):
            self._answers([host.wait.remote(timeout_s) for host in self._hosts], more_s=timeout_s)

    def stop(self) -> None:
        try:
            self._answers([host.stop.remote() for host in self._hosts])
        except (RayError, GangStartError):  # a host is lost: the others are of no use in this group
            self.close()

    def close(self) -> None:
        hosts, self._hosts = self._hosts, []
        if self._group is not None:
            self._group = None
            with suppress(RayError, GangStartError):
                within(ANSWER_S, lambda: remove_group(self._name))
        else:
            with suppress(RayError, GangStartError):
                within(ANSWER_S, lambda: [ray.kill(host) for host in hosts])

    def _assemble(self) -> None:
        """A group, and an actor in each bundle."""
        plan = self._plan
        bundle = bundle_of(device=plan.device, num_ranks=plan.parallel.ranks_per_host, threads=plan.threads)
        bundles = [bundle] * plan.parallel.num_hosts
        group = self._lent or self._own_group(bundles)
        try:
            if not within(self._place_s + ANSWER_S, lambda: group.wait(self._place_s)):
                raise GangStartError(f"no room for {len(bundles)} x {bundles[0]} on as many hosts")
            self._hosts = [_actor(group, index, bundle) for index, bundle in enumerate(bundles)]
            self._addresses = self._answers([host.host.remote() for host in self._hosts], more_s=ACTOR_START_S)
        except (RayError, GangStartError) as error:
            self.close()
            raise GangStartError(f"{self._name} could not be placed: {error}") from error

    def _own_group(self, bundles: list[dict[str, float]]) -> PlacementGroup:
        within(ANSWER_S, lambda: remove_group(self._name))  # left by this leader's life before
        self._group = group = placement_group(bundles, strategy="STRICT_SPREAD", name=self._name)
        return group

    def _look(self) -> None:
        for said in self._answers([host.lost.remote() for host in self._hosts]):
            if said is not None:
                raise GangStartError(said)

    def _answers(self, references: list[Any], *, more_s: float = 0.0) -> list[Any]:
        answers: list[Any] = within(ANSWER_S + more_s, lambda: ray.get(references))
        return answers


def bundle_of(*, device: str, num_ranks: int, threads: int) -> dict[str, float]:
    """What a host's ranks need of it: a GPU each, or the CPUs of their threads, less what leader and encoder book."""
    if device.startswith("cuda"):
        return {"GPU": float(num_ranks)}
    return {"CPU": round(CPU_SHARE * num_ranks * threads, 2)}


def group_name() -> str:
    """Of this process's gang: an actor keeps it when Ray restarts it."""
    context = ray.get_runtime_context()
    return f"{GROUP_PREFIX}{context.get_actor_id() or ''}-{context.get_job_id()}"


def reap_gang_groups() -> list[str]:
    """Remove all gangs' groups of this driver's job; their names. For a time at which none of them is in use."""
    job_id = ray.get_runtime_context().get_job_id()
    reaped = []
    for identifier, entry in placement_group_table().items():
        name = entry["name"]
        if name.startswith(GROUP_PREFIX) and name.endswith(f"-{job_id}") and entry["state"] != "REMOVED":
            remove_placement_group(PlacementGroup(ray.PlacementGroupID(bytes.fromhex(identifier))))
            reaped.append(name)
    return reaped


def remove_group(name: str) -> None:
    """Remove the group of that name, if there is one, and wait until it is gone. GangStartError where it stays."""
    deadline_s = time.monotonic() + ANSWER_S
    with suppress(ValueError):  # what get_placement_group raises where there is none
        remove_placement_group(get_placement_group(name))
        while time.monotonic() < deadline_s:
            get_placement_group(name)
            time.sleep(0.05)
        raise GangStartError(f"{name} could not be removed")


def within(timeout_s: float, call: Callable[[], _T]) -> _T:
    """What the call returns or raises; GangStartError after that time. Ray's own deadlines fail with its network."""
    answers = SimpleQueue[tuple[bool, Any]]()

    def run() -> None:
        try:
            answers.put((True, call()))
        except Exception as error:  # handed on below
            answers.put((False, error))

    Thread(target=run, name="ray-call", daemon=True).start()
    try:
        is_good, answer = answers.get(timeout=timeout_s)
    except Empty:
        raise GangStartError(f"Ray did not answer within {timeout_s:.0f} s") from None
    if not is_good:
        raise answer
    value: _T = answer
    return value


def interface_of(address: str) -> str:
    """The network interface that has this IPv4 address; the loopback where none has."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for _, name in socket.if_nameindex():
            with suppress(OSError):
                answer = fcntl.ioctl(probe, _SIOCGIFADDR, struct.pack("256s", name.encode()[:15]))
                if socket.inet_ntoa(answer[20:24]) == address:
                    return name
    return "lo"


def _actor(group: PlacementGroup, index: int, bundle: dict[str, float]) -> Any:
    return (
        ray.remote(RankHost)
        .options(
            num_cpus=bundle.get("CPU", 0),
            num_gpus=bundle.get("GPU", 0),
            max_restarts=0,
            scheduling_strategy=PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=index),
        )
        .remote()
    )
