"""A cluster of two nodes that the driver joins: clips on both, a node lost on the way, an output that is not shared."""

from __future__ import annotations

import re
import socket
import time
import urllib.request
from collections.abc import Iterator

import pytest
from e2e_farm import SMALL, Farm, finish, wait_until
from services.endpoint import free_port

pytestmark = pytest.mark.slow

NUM_CLIPS = 20
METRICS_PORT = free_port()
WANTED = {"ray_farm_clips_total", "ray_farm_denoise_steps_total", "ray_farm_stage_seconds_bucket"}


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[object]:
    """Two nodes of one CPU each on this machine."""
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    from ray.cluster_utils import Cluster

    head = {"num_cpus": 1, "object_store_memory": 80 * 2**20, "metrics_export_port": METRICS_PORT}
    nodes = Cluster(initialize_head=True, head_node_args=head)
    nodes.add_node(num_cpus=1, object_store_memory=80 * 2**20)
    yield nodes
    nodes.shutdown()


def exported_names() -> set[str]:
    """The farm's series on the head's own endpoint."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{METRICS_PORT}/metrics", timeout=5) as reply:
            text = reply.read().decode()
    except OSError:
        return set()
    return {found[1] for found in re.finditer(r"^(ray_farm_\w+?)(?:\{| )", text, re.MULTILINE)}


@pytest.mark.timeout(300)
def test_a_lost_node_costs_no_clip(farm: Farm, cluster: object) -> None:
    farm.environment["RAY_AUTH_MODE"] = "disabled"
    farm.write_clips(NUM_CLIPS, slow_s=0.6)
    driver = farm.start_render("--address", cluster.address)  # type: ignore[attr-defined]
    farm.await_clips(2, driver)
    cluster.remove_node(cluster.list_all_nodes()[-1], allow_graceful=False)  # type: ignore[attr-defined]
    wait_until(lambda: exported_names() >= WANTED, timeout_s=60, what=f"the metrics {WANTED}")
    code, said = finish(driver)
    assert code == 0, said
    assert len(farm.committed()) == NUM_CLIPS
    records = farm.records().values()
    assert {record["worker"]["host"] for record in records} == {socket.gethostname()}
    assert len({record["worker"]["node_id"] for record in records}) == 2
    # Two clips at most were in work on the lost node; none of them is blamed for it.
    assert {record["attempts"] for record in records} == {1}


@pytest.mark.timeout(400)
def test_a_node_that_ray_drains_gives_its_clip_back(farm: Farm, cluster: object) -> None:
    """As a spot notice does, or Kubernetes' SIGTERM to `ray start --block`."""
    farm.environment |= {"RAY_AUTH_MODE": "disabled", "WANFARM_CHECKPOINT_STEPS": "1"}
    rows = [{"prompt": "a red circle fake:slow=8", "seed": n, **SMALL, "num_inference_steps": 20} for n in range(6)]
    farm.write(rows)
    driver = farm.start_render("--address", cluster.address)  # type: ignore[attr-defined]

    def in_work() -> set[str]:
        """Clips past a step."""
        return {name.rsplit("/", 1)[-1][:32] for name in farm.storage.names("state") if name.endswith(".safetensors")}

    wait_until(lambda: len(in_work()) == 2, timeout_s=240, what="a clip in work on each node")
    leaving = cluster.list_all_nodes()[-1]  # type: ignore[attr-defined]
    drain(cluster.address, leaving.node_id)  # type: ignore[attr-defined]
    code, said = finish(driver)
    assert code == 0, said
    assert "computed twice" not in said
    records = farm.records().values()
    assert len(records) == len(rows)
    assert {(record["attempts"], record["lost_steps"]) for record in records} == {(1, 0)}
    # The clip of the node that left went on from its state elsewhere.
    assert any(record["resumed_at"] for record in records)
    assert leaving.node_id not in {record["worker"]["node_id"] for record in records if record["resumed_at"]}


@pytest.mark.timeout(400)
def test_gangs_over_both_nodes_leave_nothing_behind(farm: Farm, cluster: object) -> None:
    import ray
    from ray.util.placement_group import placement_group_table

    farm.environment["RAY_AUTH_MODE"] = "disabled"
    farm.write_clips(4)
    address: str = cluster.address  # type: ignore[attr-defined]
    code, said = farm.render("--address", address, "--hosts-per-gang", "2", "--ulysses-degree", "2")
    assert code == 0, said
    executions = [record["execution"] for record in farm.records().values()]
    assert {(found["degree"], found["parallel"]) for found in executions} == {(2, "ulysses=2 cfg=1")}
    assert len(executions) == 4
    ray.init(address=address, log_to_driver=False, logging_level="ERROR")
    try:
        states = {group["state"] for group in placement_group_table().values()}
    finally:
        ray.shutdown()
    assert states == {"REMOVED"}


def drain(address: str, node_id: str) -> None:
    """What Ray's own node process asks for when it gets SIGTERM."""
    from ray._raylet import GcsClient
    from ray.core.generated.autoscaler_pb2 import DrainNodeReason

    reason = DrainNodeReason.Value("DRAIN_NODE_REASON_PREEMPTION")
    deadline_ms = int((time.time() + 600) * 1000)
    is_accepted, why = GcsClient(address=address).drain_node(node_id, reason, "spot", deadline_ms)
    assert is_accepted, why


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:10001", "nowhere"])
def test_no_cluster_at_an_address_is_one_line(farm: Farm, address: str, capsys: pytest.CaptureFixture[str]) -> None:
    farm.write_clips(1)
    manifest = str(farm.manifest)
    assert farm.call("render", manifest, "--out", farm.out, "--model", farm.model, "--address", address) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert address in line
