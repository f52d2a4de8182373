"""Every overlay renders and has no fault; the schemas are KubeRay's."""

from __future__ import annotations

import copy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from k8s.checks.checking import faults_of
from k8s.checks.compact import compact
from k8s.checks.crds import COMPACT, compact_schemas, full_schemas
from k8s.checks.kubernetes import schema_faults
from k8s.checks.objects import clusters, pods
from k8s.checks.overlays import HERE, OVERLAYS, WEIGHTS
from k8s.checks.policies.network import HEAD_PORTS, METRIC_PORTS
from k8s.checks.policies.pods import bounded, read_only_root, unprivileged
from k8s.checks.rendering import rendered

NAMES = [f"{found.parent.name}/{found.name}" for found in OVERLAYS]
ROOT = HERE.parent


def test_there_is_an_overlay_for_each_need() -> None:
    assert {name.partition("/")[0] for name in NAMES} == {
        "dev", "experts", "multi-gpu", "multi-host", "single-gpu", "spot",
    }  # fmt: skip
    assert {"dev/service", "multi-gpu/job-kueue", "multi-host/job-volcano"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_an_overlay_has_no_fault(overlay: Any, name: str) -> None:
    assert faults_of(overlay(name)) == []
    (cluster,) = clusters(overlay(name))
    wanted = {"cluster": "RayCluster", "service": "RayService"}.get(name.partition("/")[2], "RayJob")
    assert cluster.kind == wanted


@pytest.mark.parametrize("name", NAMES)
def test_an_overlay_has_no_fault_by_the_full_definitions(overlay: Any, name: str, definitions: Path) -> None:
    assert faults_of(overlay(name), schemas=full_schemas(definitions)) == []


def test_the_compact_schema_is_made_from_the_full_definitions(definitions: Path) -> None:
    assert COMPACT.read_text() == compact(definitions), "run `python -m k8s.checks.compact FOLDER`"


def test_the_compact_schema_holds_every_rule() -> None:
    """Those of the fields that are kept: none may be lost when it is made anew."""
    rules = [rule["rule"] for schema in compact_schemas().values() for rule in _rules(schema)]
    assert len(rules) == 17
    assert "self == oldSelf" in rules


def _rules(schema: dict[str, Any]) -> list[dict[str, Any]]:
    found = list(schema.get("x-kubernetes-validations", []))
    for part in [*schema.get("properties", {}).values(), *[schema[key] for key in ("items",) if key in schema]]:
        found += _rules(part)
    return found


@pytest.mark.parametrize("name", [name for name in NAMES if name.endswith("/job")])
def test_an_overlay_differs_from_its_cluster_by_its_wrapping_alone(overlay: Any, name: str) -> None:
    (job,), (cluster,) = clusters(overlay(name)), clusters(overlay(f"{name.partition('/')[0]}/cluster"))
    assert job.spec == cluster.spec


def test_pods_are_online_where_they_answer_and_batch_where_they_do_not(overlay: Any) -> None:
    for name in NAMES:
        expected = "wanfarm-online" if name.endswith("/service") else "wanfarm-batch"
        (cluster,) = clusters(overlay(name))
        assert {pod.spec["priorityClassName"] for pod in cluster.nodes} == {expected}, name


def test_storage_is_reached_by_a_secret_or_by_an_identity(overlay: Any) -> None:
    for name in NAMES:
        (cluster,) = clusters(overlay(name))
        is_by_secret = {bool(pod.main.get("envFrom")) for pod in cluster.nodes}
        kind = name.partition("/")[0]
        assert is_by_secret == {kind not in ("dev", "spot")}, name
        (account,) = [found for found in overlay(name) if found["kind"] == "ServiceAccount"]
        assert ("annotations" in account["metadata"]) == (kind == "spot")


def test_monitors_find_the_ports_they_scrape() -> None:
    monitors = list(yaml.safe_load_all((ROOT / "monitoring/podmonitor.yaml").read_text()))
    asked = {
        found["metadata"]["name"]: [end["port"] for end in found["spec"]["podMetricsEndpoints"]] for found in monitors
    }
    assert set(asked["wanfarm-ray"]) <= {*METRIC_PORTS, *HEAD_PORTS}
    assert asked["wanfarm-run"] == ["farm-run"]
    assert {found["kind"] for found in rendered(ROOT / "monitoring")} >= {"PodMonitor", "PrometheusRule", "ConfigMap"}


def test_the_job_that_brings_weights_passes_too() -> None:
    objects = rendered(WEIGHTS)
    assert [found["kind"] for found in objects] == ["Job"]
    assert [*schema_faults(objects), *unprivileged(objects), *bounded(objects), *read_only_root(objects)] == []
    (pod,) = pods(objects)
    compile(pod.main["command"][2], "copy.yaml", "exec")


def test_the_command_says_what_is_wrong_and_ends_with_1(tmp_path: Path) -> None:
    folder = tmp_path
    folder.joinpath("kustomization.yaml").write_text("resources: [missing.yaml]\n")
    done = _check(folder)
    assert done.returncode == 2
    assert "does not render" in done.stderr
    objects = copy.deepcopy(rendered(HERE / "overlays/dev/job"))
    (job,) = [found for found in objects if found["kind"] == "RayJob"]
    job["spec"]["backoffLimit"] = 0
    folder.joinpath("all.yaml").write_text(yaml.safe_dump_all(objects))
    folder.joinpath("kustomization.yaml").write_text("resources: [all.yaml]\n")
    done = _check(folder)
    assert done.returncode == 1
    assert "RayJob/wanfarm: a driver that is interrupted (75) or lost is not tried again" in done.stdout
    assert "[retries]" in done.stdout


def _check(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "k8s.checks", str(folder)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize("name", ["kuberay-operator", "kuberay"], ids=["by Helm", "by kustomize"])
def test_the_operator_is_let_in_however_it_was_installed(overlay: Any, name: str) -> None:
    operator = {"app.kubernetes.io/name": name, "app.kubernetes.io/component": "kuberay-operator"}
    policies = [found for found in overlay("dev/job") if found["kind"] == "NetworkPolicy"]
    (policy,) = [found for found in policies if found["metadata"]["name"] == "operator"]
    (rule,) = policy["spec"]["ingress"]
    assert rule["from"][0]["podSelector"]["matchLabels"].items() <= operator.items()


def test_every_head_keeps_its_place_however_many_there_are(overlay: Any) -> None:
    budgets = [found for found in overlay("dev/job") if found["kind"] == "PodDisruptionBudget"]
    (spec,) = [found["spec"] for found in budgets if found["metadata"]["name"] == "wanfarm-head"]
    assert spec["minAvailable"] >= 10_000  # of two, one alone would leave the other's run without a driver
