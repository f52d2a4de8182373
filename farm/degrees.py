"""How many devices render one clip together: chosen from model, shapes, memory and goal, and explained in sentences.

Two axes (`farm.parallelism`). Ulysses shares a pass's tokens: it divides activations, but every rank holds all weights,
and all ranks exchange tokens in every layer. The guidance axis has a step's two passes side by side and exchanges once
a step; it divides no memory.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

from farm.errors import UsageError
from farm.experts import NO_STEPS, StepSplit
from farm.memory import GIB, USABLE, Need, device_memory
from farm.parallelism import EXPERT_POOLS, Goal, ParallelPlan, Wanted
from farm.speed_up import speed_up

# Latency: twice the devices pay as long as they take a fifth off a clip's time.
PAYS = 0.8
MAX_TILES = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """One model's clips in a run: what decides how they may be shared. `split`: their steps by expert."""

    model: str
    num_heads: int
    need: Need
    num_clips: int
    num_guided: int
    split: StepSplit = NO_STEPS


@dataclass(frozen=True, slots=True, kw_only=True)
class Hardware:
    """Devices of one kind ("cpu": cores), `per_node` of them on each machine."""

    device: str
    num_devices: int
    per_node: int

    @property
    def is_cpu(self) -> bool:
        return self.device == "cpu"

    @property
    def memory_bytes(self) -> int | None:
        """Of one device; None for CPUs, whose gangs are counted by the host's memory, and where it is unknown."""
        return None if self.is_cpu else device_memory(self.device)


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """How clips are shared. `tiles`: pieces that a rank decodes one after the other (1: whole). `fits` by estimate.

    `has_pools`: gangs hold one expert of a model that has two.
    """

    parallel: ParallelPlan
    tiles: int
    fits: bool
    reasons: tuple[str, ...]
    has_pools: bool = False


def choose(demands: Sequence[Demand], hardware: Hardware, wanted: Wanted) -> Choice:
    """The plan for a run. UsageError names the degrees there are where what is asked cannot be."""
    if wanted.goal not in (None, *get_args(Goal)):
        raise UsageError(f"--goal is one of {', '.join(get_args(Goal))}, not {wanted.goal!r}")
    return _Planner(demands, hardware, wanted, has_pools=_has_pools(demands, hardware, wanted)).choice()


def _has_pools(demands: Sequence[Demand], hardware: Hardware, wanted: Wanted) -> bool:
    """Whether experts get gangs of their own: where that was asked, and where a device holds one but not both."""
    if wanted.expert_pools not in EXPERT_POOLS:
        raise UsageError(f"--expert-pools is one of {', '.join(EXPERT_POOLS)}, not {wanted.expert_pools!r}")
    two = [demand for demand in demands if demand.need.other_expert]
    if wanted.expert_pools == "on" and demands and not two:
        raise UsageError(f"--expert-pools on: {', '.join(demand.model for demand in demands)} has one expert")
    if not two or wanted.expert_pools == "off":
        return False
    both, one = (max(demand.need.held(has_pools=has).weights for demand in demands) for has in (False, True))
    budget, total = _budget(hardware), hardware.memory_bytes
    is_needed = budget is not None and one <= budget < both
    if is_needed and total is not None and hardware.num_devices < 2:
        raise UsageError(
            f"{two[0].model} has two experts, and one {hardware.device} does not hold both ({_gib(both)} of "
            f"{_gib(total)}) but one of them ({_gib(one)}): two such devices can take one each; with --expert-pools "
            "off it is tried here"
        )
    if wanted.expert_pools == "on" and hardware.num_devices < 2 and not hardware.is_cpu:
        raise UsageError(f"--expert-pools on takes two devices or more, and there is one {hardware.device}")
    return is_needed or wanted.expert_pools == "on"


def _budget(hardware: Hardware) -> int | None:
    """Bytes of a device for weights and activations, None where that is not counted."""
    return None if hardware.memory_bytes is None else int(hardware.memory_bytes * USABLE)


class _Planner:
    """One choice."""

    def __init__(self, demands: Sequence[Demand], hardware: Hardware, wanted: Wanted, *, has_pools: bool) -> None:
        self._demands = demands
        self._hardware = hardware
        self._wanted = wanted
        self._need = Need()
        for demand in demands:
            self._need |= demand.need.held(has_pools=has_pools)
        self._has_pools = has_pools
        self._budget = _budget(hardware)
        self._plans = sorted(self._asked_plans(), key=lambda plan: (plan.degree, -self._speed(plan)))

    def choice(self) -> Choice:
        fitting = [plan for plan in self._plans if self._fits(plan)]
        plans, goal = fitting or [self._nearest_to_fitting()], self._goal()
        chosen = self._fastest_that_pays(plans) if goal == "latency" else plans[0]
        tiles = self._tiles(chosen)
        return Choice(
            parallel=chosen,
            tiles=tiles,
            fits=bool(fitting),
            reasons=(
                *self._pool_reasons(),
                *self._memory_reasons(chosen, tiles, bool(fitting)),
                *self._goal_reasons(chosen, plans[0], goal),
            ),
            has_pools=self._has_pools,
        )

    def _asked_plans(self) -> list[ParallelPlan]:
        """Every plan that does what was asked; where there is none, all there are stand in the error."""
        plans, wanted = self._possible_plans(), self._wanted
        asked = [
            ("--ulysses-degree", wanted.ulysses_degree, [plan.ulysses_degree for plan in plans]),
            ("--cfg-degree", wanted.cfg_degree, [plan.cfg_degree for plan in plans]),
            ("--hosts-per-gang", wanted.num_hosts, [plan.num_hosts for plan in plans]),
        ]
        for flag, value, valid in asked:
            if value is not None and value not in valid:
                listed = ", ".join(str(degree) for degree in sorted(set(valid)))
                raise UsageError(f"{flag} {value} is not possible {self._why()}: it can be {listed}")
        found = [
            plan
            for plan in plans
            if wanted.ulysses_degree in (None, plan.ulysses_degree)
            and wanted.cfg_degree in (None, plan.cfg_degree)
            and wanted.num_hosts in (None, plan.num_hosts)
        ]
        if not found:
            words = " ".join(f"{flag} {value}" for flag, value, _ in asked if value is not None)
            listed = "; ".join(f"{plan} on {plan.num_hosts} host(s)" for plan in plans)
            raise UsageError(f"{words} is not possible together {self._why()}: there are {listed}")
        return self._preferred(found)

    def _possible_plans(self) -> list[ParallelPlan]:
        """What heads, passes and devices allow; each on as few hosts as hold it, or on more in equal parts."""
        hardware = self._hardware
        # Each of two pools needs a gang. Cores can be shared.
        most = hardware.num_devices // 2 if self._has_pools and not hardware.is_cpu else hardware.num_devices
        heads = math.gcd(*(demand.num_heads for demand in self._demands))  # 0, which all divide, of none
        is_guided = any(demand.num_guided for demand in self._demands) or not self._demands
        num_nodes = max(1, hardware.num_devices // hardware.per_node)
        plans = []
        for ulysses in range(1, most + 1):
            for cfg in (1, 2) if is_guided else (1,):
                degree = ulysses * cfg
                if heads % ulysses or degree > most:
                    continue
                for hosts in range(1, num_nodes + 1):
                    if degree % hosts == 0 and degree // hosts <= hardware.per_node:
                        plans.append(ParallelPlan(ulysses_degree=ulysses, cfg_degree=cfg, num_hosts=hosts))
        return plans

    def _preferred(self, plans: list[ParallelPlan]) -> list[ParallelPlan]:
        """Without what nobody would choose unasked, as far as that leaves any plan."""
        wanted, per_node = self._wanted, self._hardware.per_node
        if wanted.num_hosts is None:
            fewest = min(plan.num_hosts for plan in plans)
            plans = [plan for plan in plans if plan.num_hosts == fewest]
        if wanted.ulysses_degree is None and wanted.cfg_degree is None and wanted.num_hosts is None:
            # Cores are threads' to share. Devices that a degree leaves over would stand idle.
            plans = [plan for plan in plans if plan.degree == 1] if self._hardware.is_cpu else plans
            plans = [plan for plan in plans if per_node % plan.degree == 0] or plans
        return plans

    def _why(self) -> str:
        heads = ", ".join(f"{demand.model} has {demand.num_heads} heads" for demand in self._demands)
        hardware = self._hardware
        unit = "cores" if hardware.is_cpu else hardware.device
        place = f"{hardware.num_devices} x {unit}, {hardware.per_node} to a host"
        unguided = bool(self._demands) and not any(demand.num_guided for demand in self._demands)
        notes = ("no clip is guided" if unguided else "", "shared by two expert pools" if self._has_pools else "")
        return f"({'; '.join(part for part in (heads, place, *notes) if part)})"

    def _speed(self, plan: ParallelPlan) -> float:
        return speed_up(plan, self._hardware.device)

    def _goal(self) -> Goal:
        """As asked; else throughput, unless there are too few clips to give every device one."""
        num_clips = sum(demand.num_clips for demand in self._demands)
        is_few = 0 < 2 * num_clips <= self._hardware.num_devices and not self._hardware.is_cpu
        return self._wanted.goal or ("latency" if is_few else "throughput")

    def _fastest_that_pays(self, plans: Sequence[ParallelPlan]) -> ParallelPlan:
        chosen, num_clips = plans[0], sum(demand.num_clips for demand in self._demands)
        # Unasked, more devices for a clip must not leave another waiting for one.
        most = self._hardware.num_devices if self._wanted.goal else self._hardware.num_devices // max(1, num_clips)
        for plan in plans[1:]:
            if plan.degree > max(most, plans[0].degree):
                break
            pays = PAYS ** math.log2(plan.degree / chosen.degree)
            if self._speed(plan) > self._speed(chosen) and self._speed(chosen) / self._speed(plan) <= pays:
                chosen = plan
        return chosen

    def _tiles(self, plan: ParallelPlan) -> int:
        """Pieces to decode in, where one rank has no room for the whole; several share its rows anyway."""
        if self._budget is None or plan.degree > 1:
            return 1
        room = max(1, self._budget - self._need.weights)
        return min(MAX_TILES, max(1, math.ceil(self._need.decode / room)))

    def _nearest_to_fitting(self) -> ParallelPlan:
        if self._budget is not None and self._need.weights > self._budget:
            return self._plans[0]
        return min(self._plans, key=lambda plan: (self._need.rank_bytes(plan, tiles=self._tiles(plan)), plan.degree))

    def _fits(self, plan: ParallelPlan) -> bool:
        return self._budget is None or self._need.rank_bytes(plan, tiles=self._tiles(plan)) <= self._budget

    def _pool_reasons(self) -> list[str]:
        if not self._has_pools:
            return []
        total = self._hardware.memory_bytes
        if self._wanted.expert_pools == "on" or total is None:
            return ["each expert has gangs of its own, which was asked for"]
        both = max(demand.need.weights for demand in self._demands)
        return [f"each expert has gangs of its own: both take {_gib(both)}, and a device has {_gib(total)}"]

    def _memory_reasons(self, plan: ParallelPlan, tiles: int, fits: bool) -> list[str]:
        need, total = self._need, self._hardware.memory_bytes
        if self._hardware.is_cpu:
            return ["on CPUs one rank's threads do what several ranks would"] if plan.degree == 1 else []
        if total is None:
            return [f"how much memory a {self._hardware.device} has is not known here, so a clip is taken to fit"]
        said = f"a rank takes about {_gib(need.rank_bytes(plan, tiles=tiles))} of {_gib(total)}"
        parts = f"weights {_gib(need.weights)}, activations {_gib(need.denoise // plan.ulysses_degree)}"
        if need.weights > total:
            said = f"the weights alone take {_gib(need.weights)} of {_gib(total)}, and every rank holds all of them"
            return [f"it does not fit: {said}; no degree changes that"]
        reasons = [f"{'it fits' if fits else 'it may not fit'}: {said} ({parts})"]
        if tiles > 1:
            reasons.append(f"frames are decoded in {tiles} pieces, since the whole takes {_gib(need.decode)}")
        return reasons

    def _goal_reasons(self, plan: ParallelPlan, smallest: ParallelPlan, goal: Goal) -> list[str]:
        if self._hardware.is_cpu and plan.degree == 1:
            return []
        if plan.degree == 1:
            why = "no second one pays" if goal == "latency" else "devices work on clips of their own, and none waits"
            return [f"for {goal} one device renders a clip: {why}"]
        efficiency = self._speed(plan) / plan.degree
        shares = f"{plan.degree} devices render a clip together ({plan}): about {self._speed(plan):.1f} times as fast"
        reasons = [f"{shares} as one, each device at {efficiency:.0%}"]
        wanted = self._wanted
        if (wanted.ulysses_degree, wanted.cfg_degree, wanted.num_hosts) != (None, None, None):
            return [*reasons, "the degree was asked for"]
        if plan == smallest:
            return [*reasons, "it is the smallest degree that fits"]
        why = "" if wanted.goal else " (there are fewer clips than devices)"
        return [
            *reasons,
            f"for latency{why} it is the largest at which twice the devices take a fifth off a clip's time",
        ]


def _gib(size_bytes: int) -> str:
    return f"{size_bytes / GIB:.1f} GiB"
