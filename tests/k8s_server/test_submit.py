"""`wanfarm submit --kube --kube-apply` against a real API server, with a submitter's rights and nothing more."""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml
from services.kube import KubeServer

from jobs.cli import run
from jobs.kube import RUN_LABEL
from k8s.checks.overlays import HERE
from k8s.checks.rendering import kubectl, rendered


@pytest.fixture
def submit(
    kube: KubeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Any:
    """Submits a manifest of its own; what is said of it, as JSON."""
    template = tmp_path / "job.yaml"
    template.write_text(yaml.safe_dump_all(rendered(HERE / "overlays/dev/job")))
    manifest, out = tmp_path / "clips.jsonl", tmp_path / "out"
    manifest.write_text(json.dumps({"prompt": f"a red circle {tmp_path.name}"}) + "\n")
    monkeypatch.setenv("KUBECONFIG", str(kube.config("submitter")))
    monkeypatch.setenv("PATH", f"{Path(kubectl()).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("WANFARM_CACHE", str(tmp_path / "cache"))

    def call(*, is_fault: bool = False) -> dict[str, Any] | str:
        arguments = [str(manifest), "--out", str(out), "--kube", str(template), "--kube-apply", "--json"]
        code = run(["submit", *arguments])
        said = capsys.readouterr()
        assert code == (2 if is_fault else 0), said.err
        return said.err if is_fault else json.loads(said.out)

    return call


def jobs_of(kube: KubeServer, run_id: str) -> list[dict[str, Any]]:
    found = json.loads(
        kube.ask("get", "rayjobs.ray.io", f"--selector={RUN_LABEL}={run_id}", "-ojson", "--namespace=wanfarm")
    )
    return list(found["items"])


def test_a_run_is_created_once_found_again_and_followed_by_the_next(kube: KubeServer, submit: Any) -> None:
    first = submit()
    again = submit()
    assert (first["was_there"], again["was_there"]) == (False, True)
    assert first["job"] == again["job"] == f"farm-{first['run_id']}-1"
    (job,) = jobs_of(kube, first["run_id"])
    assert job["spec"]["entrypoint"].startswith("wanfarm render ")
    assert job["spec"]["rayClusterSpec"]["rayVersion"] == "2.60.0"
    # What the operator does when the job has ended.
    ended = json.dumps({"status": {"jobDeploymentStatus": "Complete", "jobStatus": "SUCCEEDED"}})
    where = ["rayjobs.ray.io", first["job"], "--namespace=wanfarm"]
    kube.ask("patch", *where, "--subresource=status", "--type=merge", f"--patch={ended}")
    assert submit()["job"] == f"farm-{first['run_id']}-2"


def test_of_many_that_submit_at_once_one_creates(kube: KubeServer, submit: Any, tmp_path: Path) -> None:
    from jobs.kube import KubeSubmission, RunRayJob
    from jobs.submissions import take_up

    known = submit()
    (document,) = jobs_of(kube, known["run_id"])
    run_id = "0123456789abcdef"
    kept = {"labels": {**document["metadata"]["labels"], RUN_LABEL: run_id}, "namespace": "wanfarm"}
    fresh = {"apiVersion": "ray.io/v1", "kind": "RayJob", "metadata": kept, "spec": document["spec"]}
    store = KubeSubmission(rayjob=RunRayJob(run_id=run_id, document=fresh))
    with ThreadPoolExecutor(max_workers=6) as pool:
        taken = list(pool.map(lambda _: take_up(store, run_id), range(6)))
    assert len(jobs_of(kube, run_id)) == 1
    assert sorted(found.was_there for found in taken) == [False, True, True, True, True, True]


def test_who_may_not_is_told_so(kube: KubeServer, submit: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", str(kube.config("stranger")))
    said = submit(is_fault=True)
    assert "cannot list resource" in said
    assert len(said.strip().splitlines()) == 1
