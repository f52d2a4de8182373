"""The driver's small parts: budgets, layouts, progress, signals, blocks."""

from __future__ import annotations

import io
import os
import signal
import time
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pytest

from farm.degrees import Demand
from farm.errors import Interrupted, UsageError
from farm.experts import PoolSizes, StepSplit
from farm.memory import LEADER_BYTES, PROCESS_BYTES, Need
from farm.parallelism import Wanted
from farm.segments import SCHEMA
from jobs.calls import Execution, FailureBudget
from jobs.fleet import POOL_LABEL, TEXT_POOL, Machine, lay_out
from jobs.progress import Lines, Tally, duration
from jobs.session import _machine_of
from jobs.signals import ECHO_S, drained_by_signals
from jobs.summoning import with_promised

GIB = 2**30


@pytest.mark.parametrize(
    ("text", "num_failed", "is_allowed"),
    [("0", 0, True), ("0", 1, False), ("3", 3, True), ("3", 4, False), ("2%", 2, True), ("2%", 3, False)],
)
def test_failure_budget(text: str, num_failed: int, is_allowed: bool) -> None:
    assert FailureBudget.parse(text).allows(num_failed, num_rows=100) is is_allowed


@pytest.mark.parametrize("text", ["", "-1", "x", "101%", "-1%", "1.5", "nan%"])
def test_failure_budget_refuses(text: str) -> None:
    with pytest.raises(UsageError):
        FailureBudget.parse(text)


def machine(*, cpus: int = 2, gpus: int = 0, memory_gib: int = 16) -> Machine:
    device = "nvidia-h100" if gpus else "cpu"
    return Machine(
        num_nodes=1,
        num_cpus=cpus,
        num_gpus=gpus,
        memory_bytes=memory_gib * GIB,
        device=device,
        devices_per_node=gpus or cpus,
    )


def demands(host_gib: float = 0.0, **fields: Any) -> list[Demand]:
    """Of clips whose gang takes so much of a host of CPUs at degree 1, processes included."""
    if not host_gib:
        return []
    need = Need(weights=int(host_gib * GIB) - LEADER_BYTES - PROCESS_BYTES)
    return [Demand(**{"model": "m", "num_heads": 12, "need": need, "num_clips": 99, "num_guided": 99, **fields})]


@pytest.mark.parametrize(
    ("here", "host_gib", "expected"),
    [
        (machine(), 2, (2, 1)),
        (machine(cpus=8), 0, (8, 1)),
        (machine(cpus=8), 12, (1, 8)),
        (machine(cpus=8, memory_gib=64), 12, (4, 2)),
        (machine(cpus=16, gpus=2), 40, (2, 8)),
    ],
)
def test_layout(here: Machine, host_gib: int, expected: tuple[int, int]) -> None:
    layout = lay_out(here, demands(host_gib), wanted=Wanted(), threads=None, workers=None)
    assert (layout.num_workers, layout.threads) == expected
    # Encoders have to find a place beside them, or the pools wait for each other for ever.
    assert layout.num_workers * layout.cpus_per_worker + 0.1 <= here.num_cpus


def test_layout_takes_flags_and_still_fits() -> None:
    layout = lay_out(machine(), [], wanted=Wanted(), threads=2, workers=5)
    assert (layout.num_workers, layout.threads) == (5, 2)
    assert layout.num_workers * layout.cpus_per_worker <= 2
    with pytest.raises(UsageError):
        lay_out(machine(), [], wanted=Wanted(), threads=0, workers=None)


def test_a_cluster_whose_nodes_are_not_there_yet_is_refused() -> None:
    with pytest.raises(UsageError, match="no devices"):
        lay_out(machine(cpus=0), [], wanted=Wanted(), threads=None, workers=None)


def test_gangs_hold_the_devices_of_all_their_ranks() -> None:
    wanted = Wanted(ulysses_degree=2, cfg_degree=2)
    layout = lay_out(machine(cpus=16, gpus=8), demands(2), wanted=wanted, threads=None, workers=None)
    assert (layout.num_workers, layout.gpus_per_worker, layout.threads) == (2, 4, 2)
    assert (layout.fleet.num_actors, layout.fleet.parallel.degree, layout.torch_device) == (2, 4, "cuda")


def test_gangs_of_cpus_share_cores() -> None:
    wanted = Wanted(ulysses_degree=3)
    layout = lay_out(machine(cpus=16), demands(2), wanted=wanted, threads=None, workers=2)
    assert (layout.num_workers, layout.threads, layout.gpus_per_worker) == (2, 2, 0)
    assert layout.num_workers * layout.cpus_per_worker <= 16
    assert lay_out(machine(), demands(2), wanted=Wanted(ulysses_degree=2), threads=None, workers=None).num_workers == 1


def test_a_gang_over_several_hosts_leaves_devices_to_its_placement_group() -> None:
    cluster = replace(machine(cpus=32, gpus=8), num_nodes=2, devices_per_node=4)
    wanted = Wanted(ulysses_degree=4, cfg_degree=2)
    layout = lay_out(cluster, demands(2), wanted=wanted, threads=None, workers=None)
    assert (layout.num_workers, layout.gpus_per_worker, layout.parallel.num_hosts) == (1, 0, 2)
    assert layout.cpus_per_worker < 1


def test_nodes_of_the_text_pool_are_no_devices() -> None:
    def node(**fields: Any) -> dict[str, Any]:
        return {"Alive": True, "Labels": {}, "Resources": {"CPU": 16.0, "memory": 64.0 * GIB}, **fields}

    text = {POOL_LABEL: TEXT_POOL}
    found = _machine_of([node(), node(Labels=text), node(Labels=text, Alive=False), node(Alive=False)])
    assert (found.num_nodes, found.num_text_nodes, found.num_cpus, found.memory_bytes) == (2, 1, 16, 64 * GIB)
    gpus = {"CPU": 32.0, "GPU": 8.0, "memory": 1.0, "accelerator_type:H100": 1.0}
    found = _machine_of([node(Labels=text), node(Resources=gpus), node(Resources=gpus)])
    assert (found.num_gpus, found.num_cpus, found.devices_per_node, found.device) == (16, 64, 8, "nvidia-h100")


def test_gpus_that_are_to_come_are_planned_for() -> None:
    none, eight = machine(cpus=16), machine(cpus=32, gpus=8)
    coming = with_promised(none, 16)
    assert (coming.num_gpus, coming.device, coming.devices_per_node, coming.num_cpus) == (16, "gpu", 8, 16)
    assert with_promised(eight, 16) == replace(eight, num_gpus=16)
    assert with_promised(eight, 4) is with_promised(eight, None) is eight
    for wrong in (Execution(gpus=8), Execution(gpus=0, address="auto")):
        with pytest.raises(UsageError, match="--gpus"):
            wrong.check()


def test_gangs_are_dealt_out_to_two_pools() -> None:
    two = [replace(demand, need=replace(demand.need, other_expert=1), split=StepSplit(high=26, low=14))
           for demand in demands(2)]  # fmt: skip
    pooled = Wanted(expert_pools="on")
    layout = lay_out(machine(cpus=16, gpus=8), two, wanted=pooled, threads=None, workers=None)
    assert layout.pools == layout.fleet.pools == PoolSizes(high=5, low=3)
    assert "8 gangs: 5 for the high-noise expert, 3 for the low-noise one, as 65% and 35%" in layout.fleet.reasons[-1]
    assert lay_out(machine(cpus=1), two, wanted=pooled, threads=None, workers=None).pools == PoolSizes(high=1, low=1)
    with pytest.raises(UsageError, match="--workers must be at least 2"):
        lay_out(machine(), two, wanted=pooled, threads=None, workers=1)
    assert lay_out(machine(), two, wanted=Wanted(), threads=None, workers=None).pools is None


def test_tally_counts_and_shows() -> None:
    tally = Tally(total=4, done=1, failed=0)
    assert tally.eta_s is None
    tally.add(has_failed=False)
    tally.add(has_failed=True)
    assert (tally.done, tally.failed, tally.num_left) == (2, 1, 1)
    assert str(tally).startswith("2/4 done, 1 failed, ")
    assert "ETA" in str(tally)


def test_lines_say_the_end_at_once_and_nothing_twice() -> None:
    stream, tally = io.StringIO(), Tally(total=2, done=1, failed=0)
    lines = Lines(stream)
    lines.tick(tally)
    assert stream.getvalue() == ""
    tally.add(has_failed=False)
    lines.tick(tally)
    lines.tick(tally)
    assert len(stream.getvalue().splitlines()) == 1


@pytest.mark.parametrize(("seconds", "text"), [(3, "3 s"), (240, "4 min"), (7500, "2 h 05 min")])
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_a_signal_asks_for_an_end_and_a_second_one_ends_the_grace() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with drained_by_signals(grace_s=60) as drain:
        with drain.patiently():
            os.kill(os.getpid(), signal.SIGTERM)
            assert drain.is_asked
            assert drain.name == "SIGTERM"
            assert not drain.is_over
            os.kill(os.getpid(), signal.SIGINT)
            assert drain.is_over
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_signal_that_comes_by_two_ways_is_one() -> None:
    with drained_by_signals(grace_s=60) as drain:
        with drain.patiently():
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGTERM)
            assert not drain.is_over
            time.sleep(2 * ECHO_S)
            os.kill(os.getpid(), signal.SIGTERM)
            assert drain.is_over
    with drained_by_signals(grace_s=60):
        with pytest.raises(Interrupted):
            os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)  # while what the first one ended is being put away


def test_a_signal_ends_what_is_not_patient_and_is_taken_back_from_ray() -> None:
    with drained_by_signals(grace_s=60) as drain:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        drain.listen()
        with pytest.raises(Interrupted, match="SIGTERM"):
            os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.parametrize(
    ("num_clips", "clip_s", "num_workers", "rows"),
    [
        (1, 1.0, 2, 1),
        (24, 1.0, 2, 3),  # four blocks for each worker
        (10_000, 1.0, 2, 60),  # a minute
        (10_000, 600.0, 2, 1),
        (10_000, None, 2, 1),  # nothing known: as slow as can be
    ],
)
def test_blocks_hold_a_minute_of_work(num_clips: int, clip_s: float | None, num_workers: int, rows: int) -> None:
    from jobs.pipeline import Segment, block_rows

    row = dict.fromkeys(SCHEMA.names) | {"clip_id": "c", "seconds": clip_s}
    segment = Segment(rows=pa.Table.from_pylist([row] * num_clips, schema=SCHEMA))
    assert block_rows(segment, num_workers=num_workers) == rows
