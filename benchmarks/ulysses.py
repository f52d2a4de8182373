"""Time the ways to Ulysses: DeepSpeed's layer and our exchange, and one rank for comparison. Gloo, on the CPU.

python benchmarks/ulysses.py --degree 2 --tokens 320 --layers 4

The ranks take the ways in turns, with attention alone and with a whole pass of a DiT, both of the 1.3B shape. Shown
are the medians of the first rank, and whether the answers are equal to the bit. Then what choosing a way costs a rank
before its first step: seconds, and megabytes of its own.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from operator import truediv
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor

from wan_model.dit.model import WanDiT
from wan_model.parallel import WHOLE_SEQUENCE, SequenceParallel
from wan_model.parallel.deepspeed import DeepSpeedSequence
from wan_model.parallel.ulysses import UlyssesSequence
from wan_model.text.states import TextStates
from wan_model.variants import VARIANTS

START_UP = """
import sys, time
import torch
import torch.distributed as dist
from wan_model.parallel import join

def own_mb():
    line = next(line for line in open("/proc/self/smaps_rollup") if line.startswith("Private_Dirty"))
    return int(line.split()[1]) / 1024

dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
start, before = time.perf_counter(), own_mb()
if sys.argv[1] == "deepspeed":
    from wan_model.parallel.deepspeed import DeepSpeedSequence as Sequence
    Sequence(dist.group.WORLD, "cpu")
else:
    from wan_model.parallel.ulysses import UlyssesSequence as Sequence
    Sequence(dist.group.WORLD)
print(time.perf_counter() - start, own_mb() - before)
"""


def main() -> None:
    args = _arguments()
    with tempfile.TemporaryDirectory() as folder:
        mp.spawn(_rank, (f"{folder}/store", args), nprocs=args.degree)
    for way in ("torch", "deepspeed"):
        runs = [_start_up(way) for _ in range(3)]
        seconds, megabytes = (statistics.median(column) for column in zip(*runs, strict=True))
        print(f"start-up, {way}: {seconds:.2f} s, {megabytes:.0f} MB a rank")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--degree", type=int, default=2)
    parser.add_argument("--tokens", type=int, default=320)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    return parser.parse_args()


def _rank(rank: int, store: str, args: argparse.Namespace) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", store=dist.FileStore(store, args.degree), rank=rank, world_size=args.degree)
    world = dist.group.WORLD
    ways: dict[str, SequenceParallel] = {"torch": UlyssesSequence(world), "deepspeed": DeepSpeedSequence(world, "cpu")}
    if rank == 0:
        print(f"{args.tokens} tokens, {args.dtype}, {args.degree} ranks")
    _compare("attention", ways, _attention(args), rounds=4 * args.rounds)
    run = _pass(args)
    _compare(f"{args.layers} layers", ways, run, rounds=args.rounds)
    dist.barrier()
    if rank == 0:
        alone = statistics.median(_timed(lambda: run(WHOLE_SEQUENCE), waits=False) for _ in range(3))
        print(f"{args.layers} layers on one rank, the others idle: {alone * 1e3:.0f} ms")
    dist.barrier()
    dist.destroy_process_group()


def _compare(
    what: str, ways: Mapping[str, SequenceParallel], run: Callable[[SequenceParallel], Tensor], *, rounds: int
) -> None:
    answers = {name: run(way) for name, way in ways.items()}  # warms both
    times: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(rounds):
        for name in sorted(ways, reverse=bool(turn % 2)):
            times[name].append(_timed(lambda way=ways[name]: run(way)))
    if dist.get_rank() == 0:
        medians = ", ".join(f"{name} {statistics.median(taken) * 1e3:.2f} ms" for name, taken in times.items())
        ratio = statistics.median(map(truediv, times["deepspeed"], times["torch"]))
        is_equal = torch.equal(answers["torch"], answers["deepspeed"])
        print(f"{what}: {medians}; deepspeed / torch {ratio:.2f}; equal to the bit: {is_equal}")


def _attention(args: argparse.Namespace) -> Callable[[SequenceParallel], Tensor]:
    """Exchanges and attention of one layer. Tokens are those that the degree divides."""
    share = args.tokens // args.degree
    q, k, v = torch.randn(3, 1, share, 12, 128).to(getattr(torch, args.dtype))
    return lambda way: way.attend(q, k, v, share * args.degree)


def _pass(args: argparse.Namespace) -> Callable[[SequenceParallel], Tensor]:
    torch.manual_seed(0)
    config = replace(VARIANTS["wan2.1-t2v-1.3b"].dit, num_layers=args.layers)
    dit = WanDiT(config).to(getattr(torch, args.dtype)).requires_grad_(False)
    latents = torch.randn(1, config.in_channels, 1, 2, 2 * args.tokens, dtype=getattr(torch, args.dtype))
    condition = dit.condition([TextStates(states_TD=torch.randn(30, config.text_dim, dtype=latents.dtype))])
    return lambda way: dit(latents, torch.tensor([500.0]), condition, parallel=way)


def _timed(run: Callable[[], Tensor], *, waits: bool = True) -> float:
    if waits:
        dist.barrier()
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def _start_up(way: str) -> tuple[float, float]:
    command = [sys.executable, "-c", START_UP, way]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=Path(__file__).parents[1])
    seconds, megabytes = done.stdout.split()[-2:]
    return float(seconds), float(megabytes)


if __name__ == "__main__":
    main()
