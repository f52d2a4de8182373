"""A cluster of two nodes that the driver joins: clips on both, a node lost on the way, an output that is not shared."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from e2e_farm import Farm, finish

NUM_CLIPS = 12


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[object]:
    """Two nodes of one CPU each on this machine."""
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    from ray.cluster_utils import Cluster

    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "object_store_memory": 80 * 2**20})
    nodes.add_node(num_cpus=1, object_store_memory=80 * 2**20)
    yield nodes
    nodes.shutdown()


@pytest.mark.timeout(300)
def test_a_lost_node_costs_no_clip(farm: Farm, cluster: object) -> None:
    farm.environment["RAY_AUTH_MODE"] = "disabled"
    farm.write_clips(NUM_CLIPS, slow_s=0.8)
    driver = farm.start_render("--address", cluster.address)  # type: ignore[attr-defined]
    farm.await_clips(2, driver)
    cluster.remove_node(cluster.list_all_nodes()[-1], allow_graceful=False)  # type: ignore[attr-defined]
    code, said = finish(driver)
    assert code == 0, said
    assert len(farm.committed()) == NUM_CLIPS
    records = farm.records().values()
    assert {record["worker"]["host"] for record in records} == {socket.gethostname()}
    assert len({record["worker"]["node_id"] for record in records}) == 2
    # Two clips at most were in work on the lost node; none of them is blamed for it.
    assert {record["attempts"] for record in records} == {1}


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:10001", "nowhere"])
def test_no_cluster_at_an_address_is_one_line(farm: Farm, address: str, capsys: pytest.CaptureFixture[str]) -> None:
    farm.write_clips(1)
    manifest = str(farm.manifest)
    assert farm.call("render", manifest, "--out", farm.out, "--model", farm.model, "--address", address) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert address in line
