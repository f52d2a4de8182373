"""Gangs of nano on two nodes: a rank, its leader, a node or the driver is killed at a random moment of each run.

GANG_RUNS is how many runs (default 30, one kind of kill after the other), CHAOS_SEED repeats a sequence.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest
from e2e_farm import Farm, finish, wait_until

NUM_RUNS = int(os.environ.get("GANG_RUNS", "30"))
SEED = int(os.environ.get("CHAOS_SEED", "0")) or random.randrange(1, 10**6)
CHECKPOINT_STEPS = 4
NUM_STEPS = 40
NUM_CLIPS = 6
DEGREE = ("--ulysses-degree", "2", "--threads", "1")
LONGEST_WAIT_S = 6.0
OBJECT_STORE = 80 * 2**20

RANK = "farm.workers.gang.rank"
LEADER = "RenderStage"


@dataclass(slots=True)
class Nodes:
    """A local Ray cluster of a head, where the driver's node is, and one more that can be lost."""

    cluster: Any
    lost: int = field(default=0)

    @property
    def address(self) -> str:
        return str(self.cluster.address)

    def lose_one(self) -> None:
        """The worker node dies at once, and another joins."""
        self.cluster.remove_node(self.cluster.list_all_nodes()[-1], allow_graceful=False)
        self.lost += 1
        self.cluster.add_node(num_cpus=2, object_store_memory=OBJECT_STORE)


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "disabled")
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        from ray.cluster_utils import Cluster

        head = {"num_cpus": 2, "object_store_memory": OBJECT_STORE, "include_dashboard": False}
        cluster = Cluster(initialize_head=True, head_node_args=head)
        cluster.add_node(num_cpus=2, object_store_memory=OBJECT_STORE)
        yield Nodes(cluster)
        cluster.shutdown()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, nodes: Nodes) -> dict[str, dict[str, Any]]:
    """The records of the same clips when nobody kills anything."""
    farm = nano_farm(tmp_path_factory.mktemp("undisturbed"))
    code, said = farm.render("--address", nodes.address, *DEGREE)
    assert code == 0, said
    return farm.records()


def nano_farm(folder: Path) -> Farm:
    settings = {"WANFARM_CHECKPOINT_STEPS": str(CHECKPOINT_STEPS), "RAY_AUTH_MODE": "disabled"}
    farm = Farm(folder, model="nano", environment=settings)
    shape = {"num_inference_steps": NUM_STEPS, "seed": 1}
    things = ("red circle", "white cross", "green square", "cyan triangle", "blue circle", "yellow square")
    farm.write([{"id": f"c{n}", "prompt": f"a {thing} moving right", **shape} for n, thing in enumerate(things)])
    return farm


def kill_rank(process: subprocess.Popen[str], nodes: Nodes) -> None:
    kill_one_of(lambda line: RANK in line)


def kill_leader(process: subprocess.Popen[str], nodes: Nodes) -> None:
    kill_one_of(lambda line: LEADER in line and "ray::" in line)


def kill_node(process: subprocess.Popen[str], nodes: Nodes) -> None:
    nodes.lose_one()


def kill_driver(process: subprocess.Popen[str], nodes: Nodes) -> None:
    process.send_signal(signal.SIGKILL)
    process.wait(timeout=30)


KILLS: dict[str, Callable[[subprocess.Popen[str], Nodes], None]] = {
    "rank": kill_rank,
    "leader": kill_leader,
    "node": kill_node,
    "driver": kill_driver,
}


def kill_one_of(is_meant: Callable[[str], bool]) -> None:
    found = command_lines()
    meant = sorted(pid for pid, line in found.items() if is_meant(line))
    assert meant, f"nothing to kill among {sorted(found.values())}"
    os.kill(random.choice(meant), signal.SIGKILL)


def command_lines() -> dict[int, str]:
    lines = {}
    for process in psutil.process_iter():
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            lines[process.pid] = " ".join(process.cmdline())
    return lines


def rank_pids() -> list[int]:
    return [pid for pid, line in command_lines().items() if RANK in line]


def living_groups(address: str) -> list[str]:
    """Placement groups of gangs, as a stranger sees the cluster."""
    code = (
        "import sys, ray; ray.init(address=sys.argv[1], log_to_driver=False, logging_level='ERROR')\n"
        "from ray.util import placement_group_table\n"
        "print(*[g['name'] for g in placement_group_table().values() if g['state'] != 'REMOVED'], sep='\\n')"
    )
    environment = {**os.environ, "RAY_AUTH_MODE": "disabled"}
    asked = subprocess.run(
        [sys.executable, "-c", code, address], env=environment, capture_output=True, text=True, timeout=120, check=True
    )
    return [name for name in asked.stdout.split() if name.startswith("farm-gang-")]


def shared_memory() -> set[str]:
    """Segments other than those of Ray's own object stores."""
    return {path.name for path in Path("/dev/shm").iterdir() if not path.name.startswith(("plasma", "ray"))}


@pytest.mark.chaos
@pytest.mark.timeout(600)
@pytest.mark.parametrize("number", range(NUM_RUNS))
def test_a_kill_costs_steps_and_no_clip(
    number: int, tmp_path: Path, nodes: Nodes, undisturbed: dict[str, dict[str, Any]]
) -> None:
    random.seed(SEED + number)
    kind = list(KILLS)[number % len(KILLS)]
    # A gang that spans both nodes has none to go on with when one is lost, until the next has joined.
    is_spanning = (number // len(KILLS)) % 3 == 2
    flags = ("--address", nodes.address, *DEGREE, *(("--hosts-per-gang", "2") if is_spanning else ()))
    farm, segments = nano_farm(tmp_path), shared_memory()
    try:
        process = farm.start_render(*flags)
        wait_until(lambda: has_begun(farm, process), timeout_s=200, what="the first step")
        time.sleep(random.uniform(0, LONGEST_WAIT_S))
        had_ended = process.poll() is not None
        if not had_ended:
            KILLS[kind](process, nodes)
        code, said = finish(process)
        if kind == "driver" and not had_ended:
            assert code == -signal.SIGKILL, said
            code, said = farm.render(*flags)
        assert code == 0, said
        assert_each_clip_once(farm, undisturbed)
        wait_until(lambda: not rank_pids(), timeout_s=20, what="the ranks to be gone")
        assert living_groups(nodes.address) == []
        assert shared_memory() <= segments
    finally:
        farm.stop_all()
    lost = [record["lost_steps"] for record in farm.records().values()]
    assert max(lost) <= CHECKPOINT_STEPS, lost
    resumed = sum(bool(record["resumed_at"]) for record in farm.records().values())
    what = f"{kind}{' of a gang on two hosts' if is_spanning else ''}{' (too late)' if had_ended else ''}"
    print(f"\nrun {number} (CHAOS_SEED={SEED}): {what}: {resumed} clips resumed, {sum(lost)} of "
          f"{NUM_CLIPS * NUM_STEPS} steps computed twice")  # fmt: skip


def has_begun(farm: Farm, process: subprocess.Popen[str]) -> bool:
    """Whether a clip is in work, or the command has ended."""
    return process.poll() is not None or any(farm.storage.names("state"))


def assert_each_clip_once(farm: Farm, undisturbed: dict[str, dict[str, Any]]) -> None:
    """A record, a video and a line each; bytes as if nothing had happened, wherever it was carried out alike."""
    records = farm.records()
    assert records.keys() == undisturbed.keys()
    assert len(list((Path(farm.out) / "clips").rglob("*.mp4"))) == NUM_CLIPS
    assert [(line["row"], line["status"]) for line in farm.results()] == [(n, "committed") for n in range(NUM_CLIPS)]
    assert list(farm.storage.names("state")) == []
    for clip_id, record in records.items():
        if record["execution"] == undisturbed[clip_id]["execution"]:
            assert record["video"]["sha256"] == undisturbed[clip_id]["video"]["sha256"]
