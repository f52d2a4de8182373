"""A run submitted to a cluster of two nodes by its Jobs API: found again, followed, cancelled, resumed to its end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from e2e_farm import Farm, finish, wait_until
from services.endpoint import free_port

NUM_CLIPS = 10
SLOW_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class JobsCluster:
    nodes: Any
    url: str

    def job(self, name: str) -> Any:
        from ray.job_submission import JobSubmissionClient

        return JobSubmissionClient(self.url).get_job_info(name)

    def stop(self, name: str) -> None:
        from ray.job_submission import JobSubmissionClient

        JobSubmissionClient(self.url).stop_job(name)

    def await_end(self, name: str) -> Any:
        wait_until(lambda: self.job(name).status.is_terminal(), timeout_s=60, what=f"the end of {name}")
        return self.job(name)


@pytest.fixture
def cluster(farm: Farm, monkeypatch: pytest.MonkeyPatch) -> Iterator[JobsCluster]:
    """Two nodes of one CPU each. What their processes are to know of the farm is in their own environment."""
    farm.environment |= {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}
    farm.environment["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    for name, value in farm.environment.items():
        monkeypatch.setenv(name, value)
    from ray.cluster_utils import Cluster

    port = free_port()
    store = {"num_cpus": 1, "object_store_memory": 80 * 2**20}
    head = {"include_dashboard": True, "dashboard_host": "127.0.0.1", "dashboard_port": port}
    ports = {"dashboard_agent_listen_port": free_port(), "metrics_export_port": free_port()}
    nodes = Cluster(initialize_head=True, head_node_args={**store, **head, **ports})
    nodes.add_node(**store, dashboard_agent_listen_port=free_port(), metrics_export_port=free_port())
    yield JobsCluster(nodes=nodes, url=f"http://127.0.0.1:{port}")
    nodes.shutdown()


def start_submit(farm: Farm, cluster: JobsCluster, *flags: str) -> subprocess.Popen[str]:
    arguments = ["submit", str(farm.manifest), "--out", farm.out, "--model", farm.model, "--address", cluster.url]
    return farm.start(*arguments, "--json", *flags)


def answer_of(process: subprocess.Popen[str]) -> dict[str, Any]:
    code, said = finish(process)
    assert code == 0, said
    answer: dict[str, Any] = json.loads(said[said.index("{") :])
    return answer


def submit(farm: Farm, cluster: JobsCluster, *flags: str) -> dict[str, Any]:
    return answer_of(start_submit(farm, cluster, *flags))


@pytest.mark.timeout(300)
def test_a_submitted_run_is_found_followed_cancelled_and_resumed(farm: Farm, cluster: JobsCluster) -> None:
    farm.write_clips(NUM_CLIPS, slow_s=SLOW_S)
    at_once = [start_submit(farm, cluster) for _ in range(2)]
    first, again = sorted(map(answer_of, at_once), key=lambda answer: answer["was_there"])
    run_id = first["run_id"]
    assert (first["job"], first["was_there"]) == (f"farm-{run_id}-1", False)
    assert (again["job"], again["was_there"]) == (first["job"], True)
    watch = farm.start("watch", farm.out, "--run", run_id, "--address", cluster.url)

    wait_until(lambda: len(farm.committed()) >= 2, timeout_s=120, what="two clips")
    assert farm.storage.folders("runs") == [run_id]
    assert farm.call("cancel", farm.out) == 0
    code, said = finish(watch, timeout_s=90)
    assert code == 1, said
    assert "cancelled by" in said
    assert f"job {first['job']}: FAILED, exit code 1" in said
    assert cluster.await_end(first["job"]).driver_exit_code == 1
    assert 2 <= len(farm.committed()) < NUM_CLIPS

    # Until it is resumed, nobody submits it.
    assert (
        farm.call("submit", str(farm.manifest), "--out", farm.out, "--model", farm.model, "--address", cluster.url) == 2
    )
    assert farm.call("resume", farm.out) == 0
    second = submit(farm, cluster)
    assert (second["job"], second["was_there"]) == (f"farm-{run_id}-2", False)
    code, said = farm.run("watch", farm.out, "--address", cluster.url, "--run", run_id)
    assert code == 0, said
    assert f"{NUM_CLIPS}/{NUM_CLIPS} done, 0 failed" in said
    assert str(cluster.job(second["job"]).status) == "SUCCEEDED"
    records = farm.records().values()
    assert len(records) == NUM_CLIPS
    assert len({record["worker"]["node_id"] for record in records}) == 2
    assert {record["attempts"] for record in records} == {1}


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_stopped_job_puts_its_clips_down_and_watch_says_75(farm: Farm, cluster: JobsCluster) -> None:
    farm.write_clips(NUM_CLIPS, slow_s=SLOW_S)
    first = submit(farm, cluster, "--grace", "20")
    run = ["watch", farm.out, "--run", first["run_id"], "--address", cluster.url]
    detached = farm.start(*run)
    wait_until(lambda: len(farm.committed()) >= 2, timeout_s=120, what="two clips")
    detached.send_signal(signal.SIGINT)
    code, said = finish(detached, timeout_s=20)
    assert (code, "detached; the run goes on" in said) == (130, True), said

    cluster.stop(first["job"])
    code, said = farm.run(*run)
    assert code == 75, said
    assert f"job {first['job']}: STOPPED" in said
    assert "put down at their next step" in said  # the end of the job's log
    assert len(farm.committed()) < NUM_CLIPS


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_driver_that_would_be_another_run_refuses(farm: Farm, cluster: JobsCluster) -> None:
    farm.write_clips(1)
    other = submit(farm, cluster, "--fingerprint", "0" * 64)
    code, said = farm.run("watch", farm.out, "--run", other["run_id"], "--address", cluster.url)
    assert code == 2, said
    assert f"not {other['run_id']}" in said  # the end of the job's log
    assert not farm.committed()
    first = submit(farm, cluster)
    assert first["job"] == f"farm-{first['run_id']}-1"
    assert farm.run("watch", farm.out, "--run", first["run_id"], "--address", cluster.url)[0] == 0
