"""A gang over two nodes: its clips, a node lost, a leader killed. No placement group and no rank outlives them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from gang_orders import PLAN, frames_of, order_of

from farm.errors import GangStartError, RankLostError
from farm.parallelism import ParallelPlan
from farm.workers.engine import ModelPlan
from farm.workers.fake import FakeBackend
from farm.workers.gang import Gang, GangTiming

pytestmark = pytest.mark.slow

RANKS = 4
TIMING = GangTiming(floor_s=10, first_s=60, load_s=100, place_s=15)


class Leader:
    """An actor that leads a gang, and tells errors by class."""

    def __init__(self, folder: str, degree: int, num_hosts: int) -> None:
        parallel = ParallelPlan(ulysses_degree=degree, num_hosts=num_hosts)
        plan = ModelPlan(**PLAN, parallel=parallel)
        self._gang = Gang(plan, backend="farm.workers.fake:FakeBackend", folder=Path(folder), timing=TIMING)

    def pid(self) -> int:
        return os.getpid()

    def render(self, prompt: str) -> tuple[str, Any]:
        try:
            return "made", frames_of(self._gang, order_of(prompt))
        except (RankLostError, GangStartError) as error:
            return type(error).__name__, str(error)

    def close(self) -> None:
        self._gang.close()


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Two nodes on this machine, with room for two ranks each."""
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parents[1]), str(Path(__file__).parent)]))
    import ray
    from ray.cluster_utils import Cluster

    head = {"num_cpus": 2, "resources": {"head": 1}, "object_store_memory": 80 * 2**20, "include_dashboard": False}
    nodes = Cluster(initialize_head=True, head_node_args=head)
    nodes.add_node(num_cpus=2, object_store_memory=80 * 2**20)
    ray.init(address=nodes.address, log_to_driver=False, logging_level="ERROR")
    yield nodes
    ray.shutdown()
    nodes.shutdown()


@pytest.mark.timeout(480)
def test_a_gang_over_two_nodes(cluster: Any, tmp_path: Path) -> None:
    import ray

    from farm.workers.gang.hosts import reap_gang_groups

    leads = {"num_cpus": 0, "resources": {"head": 0.1}, "max_restarts": -1, "max_task_retries": -1}
    leader = ray.remote(Leader).options(**leads).remote
    actor = leader(str(tmp_path), RANKS, 2)
    made, frames = ray.get(actor.render.remote("a"), timeout=150)
    assert made == "made"
    assert np.array_equal(frames, frames_of(FakeBackend().open_render(ModelPlan(**PLAN)), order_of("a")))
    assert len({rank.ppid() for rank in rank_processes()}) == 2
    (group,) = live_groups()

    # A rank dies: named, and the gang is built anew in the same group.
    said, message = ray.get(actor.render.remote("fake:die-rank=3"), timeout=150)
    assert said == "RankLostError"
    assert "rank 3" in message
    assert "SIGKILL" in message
    assert ray.get(actor.render.remote("a"), timeout=150)[0] == "made"
    assert live_groups() == [group]

    # The leader dies: Ray starts it anew, which removes what was left and makes the clip.
    before = rank_processes()
    os.kill(ray.get(actor.pid.remote(), timeout=150), 9)
    _, alive = psutil.wait_procs(before, timeout=10)
    assert alive == []
    assert ray.get(actor.render.remote("a"), timeout=150)[0] == "made"
    assert len(live_groups()) == 1
    assert len(rank_processes()) == RANKS

    # Whoever is killed for good leaves a group behind, at most until it is reaped.
    ray.kill(actor, no_restart=True)
    reap_gang_groups()
    wait_until(lambda: not live_groups() and not rank_processes(), timeout_s=60)
    assert reap_gang_groups() == []

    # A node is lost with its ranks, and no other is there: the gang does not come up, and leaves nothing in the queue.
    actor = leader(str(tmp_path), RANKS, 2)
    assert ray.get(actor.render.remote("a"), timeout=150)[0] == "made"
    pending = actor.render.remote("fake:slow=100")
    time.sleep(1)
    cluster.remove_node(cluster.list_all_nodes()[-1], allow_graceful=False)
    said, message = ray.get(pending, timeout=150)
    assert said == "RankLostError", message
    said, message = ray.get(actor.render.remote("a"), timeout=150)
    assert said == "GangStartError", message
    assert "no room for 2 x {'CPU': 1.6}" in message
    ray.get(actor.close.remote(), timeout=150)
    wait_until(lambda: not live_groups() and not rank_processes(), timeout_s=60)


def live_groups() -> list[str]:
    """Ids of the gangs' groups that are not removed."""
    from ray.util.placement_group import placement_group_table

    table = placement_group_table()
    return [
        key for key, entry in table.items() if entry["name"].startswith("farm-gang-") and entry["state"] != "REMOVED"
    ]


def rank_processes() -> list[psutil.Process]:
    """All ranks below this process, however deep."""
    found = []
    for child in psutil.Process().children(recursive=True):
        try:
            if "farm.workers.gang.rank" in child.cmdline():
                found.append(child)
        except psutil.Error:
            continue
    return found


def wait_until(is_so: Callable[[], bool], *, timeout_s: float) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < deadline_s
        time.sleep(0.1)
