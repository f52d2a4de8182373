"""Runs the cases on real ranks: `python parallel_ranks.py FOLDER` writes FOLDER/<rank>.pt for each of four processes.

They are forked from one process that has imported everything, and join the worlds one after another: first those of
four ranks, then two of two ranks side by side.
"""

from __future__ import annotations

import faulthandler
import os
import sys
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import parallel_cases
import torch
import torch.distributed as dist

from wan_model.parallel import Ulysses, join
from wan_model.parallel.group import Group

NUM_RANKS = 4
EXCHANGE_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """Ranks `first` and on of the four, and the cases they compute: all, or those of the DiT alone."""

    ulysses_degree: int = 1
    cfg_degree: int = 1
    ulysses: Ulysses = "torch"
    first: int = 0

    @property
    def size(self) -> int:
        return self.ulysses_degree * self.cfg_degree

    @property
    def cases(self) -> Mapping[str, parallel_cases.Case]:
        return parallel_cases.CASES if self.ulysses == "torch" else parallel_cases.CLIPS


WORLDS = {
    "ulysses 4": World(ulysses_degree=4),
    "ulysses 2, cfg 2": World(ulysses_degree=2, cfg_degree=2),
    "deepspeed 4": World(ulysses_degree=4, ulysses="deepspeed"),
    "ulysses 2": World(ulysses_degree=2),
    "deepspeed 2": World(ulysses_degree=2, ulysses="deepspeed"),
    "cfg 2": World(cfg_degree=2, first=2),
}


def main(folder: Path) -> int:
    parallel_cases.nano()
    children = []
    for rank in range(NUM_RANKS):
        if not (child := os.fork()):
            os._exit(_rank(folder, rank))
        children.append(child)
    return max(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) & 0xFF for child in children)


def _rank(folder: Path, rank: int) -> int:
    torch.set_num_threads(1)
    faulthandler.dump_traceback_later(100, exit=True)
    try:
        told = {
            name: _visit(folder / f"{name}.store", rank - world.first, world)
            for name, world in WORLDS.items()
            if world.first <= rank < world.first + world.size
        }
    except Exception:
        traceback.print_exc()
        return 1
    torch.save(told, folder / f"{rank}.pt")
    return 0


def _visit(meeting_place: Path, rank: int, world: World) -> dict[str, parallel_cases.Answer]:
    group = join(
        dist.FileStore(str(meeting_place), world.size),
        rank=rank,
        ulysses_degree=world.ulysses_degree,
        cfg_degree=world.cfg_degree,
        device="cpu",
        timeout_s=EXCHANGE_TIMEOUT_S,
        ulysses=world.ulysses,
    )
    answers = {name: dict(case(group.parallel)) for name, case in world.cases.items()}
    answers["agreed"] = _agreed(group, rank)
    group.close()
    return answers


def _agreed(group: Group, rank: int) -> parallel_cases.Answer:
    """What all ranks hold for the first one's flag where only it, and then only the others, raise theirs."""
    return {"flags": torch.tensor([group.agree(rank == 0), group.agree(rank != 0)])}


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
