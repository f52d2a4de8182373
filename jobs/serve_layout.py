"""What `wanfarm serve` runs on this machine: each model's gangs, threads and devices, as an application's arguments."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from farm.cost import Tally, cost_of
from farm.degrees import Demand
from farm.models import ModelRef, chosen_model
from farm.normalise import normalise
from farm.parallelism import Wanted
from farm.request import RowRequest
from farm.settings import Settings
from farm.spec import RenderOptions
from jobs.fleet import Layout, Machine, lay_out

# A stream of clips: more of them than devices, so that each gets a device of its own where it fits.
MANY_CLIPS = 1000
# Clips here take seconds; who waits for longer gets another gang, and one without work is kept for a while.
TARGET_BACKLOG_S = 20.0
DOWN_S = 60.0


def arguments_here(
    models: Sequence[str], *, out: str, machine: Machine, settings: Settings, threads: int | None, workers: int | None
) -> dict[str, Any]:
    """Of the first model a gang is always there, of the others while somebody asks for them.

    ModelError for what is no model; UsageError for counts that cannot be.
    """
    found = [(name, chosen_model(name, settings)) for name in models]
    # Gangs of one expert each hand clips over by a run's plan, which online jobs have none of.
    wanted = Wanted(expert_pools="off")
    layouts = [
        lay_out(machine, [_demand(model)], wanted=wanted, threads=threads, workers=workers) for _, model in found
    ]
    entries = [
        _entry(name, layout, num_kept=0 if number else 1)
        for number, ((name, _), layout) in enumerate(zip(found, layouts, strict=True))
    ]
    # One machine is one budget: these take little, and must never be what finds no room.
    processes = {"num_cpus": 0.0}
    return {"out": out, "models": entries, "servers": processes, "dispatcher": processes}


def _demand(model: ModelRef) -> Demand:
    """Clips of its card's defaults."""
    spec = normalise(RowRequest(prompt="-"), model, options=RenderOptions(), seed=0)
    tally = Tally(card=model.card)
    tally.add(cost_of(spec, model.card))
    return replace(tally.demand, num_clips=MANY_CLIPS, num_guided=MANY_CLIPS if spec.is_guided else 0)


def _entry(name: str, layout: Layout, *, num_kept: int) -> dict[str, Any]:
    parallel, tiles = layout.parallel, layout.choice.tiles
    return {
        "model": name,
        "device": layout.device,
        "ulysses_degree": parallel.ulysses_degree,
        "cfg_degree": parallel.cfg_degree,
        "tiles": tiles if tiles > 1 else None,
        "threads": layout.threads,
        "num_cpus": layout.cpus_per_worker,
        "text_cpus": 0.0,
        "scaling": {
            "min_replicas": num_kept,
            "max_replicas": layout.num_workers,
            "target_backlog_s": TARGET_BACKLOG_S,
            "down_delay_s": DOWN_S,
        },
    }
