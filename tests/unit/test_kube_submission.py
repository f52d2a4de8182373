"""`wanfarm submit --kube`: what becomes of a template, which templates are refused, and what kubectl is asked."""

from __future__ import annotations

import json
import stat
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from jobs.cli import run
from jobs.kube import RUN_LABEL

ENTRY_POINT = "wanfarm render s3://b/m.parquet --out s3://b/out --address auto --gpus 8 --max-failed 5%"
TEMPLATE: dict[str, Any] = {
    "apiVersion": "ray.io/v1",
    "kind": "RayJob",
    "metadata": {
        "name": "wanfarm",
        "generateName": "x-",
        "labels": {"kueue.x-k8s.io/queue-name": "farm"},
        "annotations": {"a": "b"},
    },
    "spec": {
        "entrypoint": ENTRY_POINT,
        "jobId": "mine",
        "backoffLimit": 3,
        "suspend": True,
        "runtimeEnvYAML": "env_vars: {RAY_JOB_STOP_WAIT_TIME_S: '300', X: 'y'}",
        "rayClusterSpec": {"rayVersion": "2.60.0"},
    },
    "status": {"jobStatus": "FAILED"},
}
ACCOUNT = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "wanfarm"}}

# Keeps RayJobs in a folder, refuses a name that is taken, and notes how it was called.
KUBECTL = """#!{python}
import json, pathlib, sys
folder = pathlib.Path({folder!r})
arguments = sys.argv[1:]
with (folder / "calls").open("a") as calls:
    calls.write(json.dumps(arguments) + "\\n")
if (folder / "fault").exists():
    sys.exit((folder / "fault").read_text())
if arguments[0] == "get":
    jobs = [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]
    wanted = arguments[2].removeprefix("--selector=").split("=")
    print(json.dumps({{"items": [job for job in jobs if job["metadata"]["labels"].get(wanted[0]) == wanted[1]]}}))
else:
    job = json.load(sys.stdin)
    rival = folder / "rival"
    if rival.exists():
        rival.rename(folder / (job["metadata"]["name"] + ".json"))
    path = folder / (job["metadata"]["name"] + ".json")
    if path.exists():
        sys.exit('Error from server (AlreadyExists): rayjobs.ray.io "x" already exists')
    path.write_text(json.dumps(job))
"""


class Kube:
    """A manifest, a template and a kubectl."""

    def __init__(self, folder: Path) -> None:
        self.out = str(folder / "out")
        self.manifest = folder / "m.jsonl"
        self.manifest.write_text('{"prompt": "a red circle"}\n')
        self.template = folder / "rayjob.yaml"
        self.write(ACCOUNT, TEMPLATE)
        self.cluster = folder / "cluster"
        self.cluster.mkdir()
        programs = folder / "bin"
        programs.mkdir()
        program = programs / "kubectl"
        program.write_text(KUBECTL.format(python=sys.executable, folder=str(self.cluster)))
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        self.path = str(programs)

    def write(self, *documents: object) -> None:
        self.template.write_text(yaml.safe_dump_all(documents))

    def submit(self, *flags: str) -> int:
        return run(["submit", str(self.manifest), "--out", self.out, "--kube", str(self.template), *flags])

    @property
    def jobs(self) -> dict[str, dict[str, Any]]:
        return {path.stem: json.loads(path.read_text()) for path in self.cluster.glob("*.json")}

    @property
    def calls(self) -> list[list[str]]:
        return [json.loads(line) for line in (self.cluster / "calls").read_text().splitlines()]

    def end(self, state: str) -> None:
        """All RayJobs come to that."""
        for name, job in self.jobs.items():
            job["status"] = {"jobDeploymentStatus": state}
            (self.cluster / f"{name}.json").write_text(json.dumps(job))


@pytest.fixture
def kube(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kube:
    kube = Kube(tmp_path)
    monkeypatch.setenv("PATH", kube.path)
    monkeypatch.setenv("WANFARM_CACHE", str(tmp_path / "cache"))
    return kube


def test_the_template_is_printed_for_this_run(kube: Kube, capsys: pytest.CaptureFixture[str]) -> None:
    assert kube.submit() == 0
    (made,) = yaml.safe_load_all(capsys.readouterr().out)
    run_id = made["metadata"]["labels"][RUN_LABEL]
    assert made["metadata"] == {
        "name": f"farm-{run_id}-1",
        "labels": {"kueue.x-k8s.io/queue-name": "farm", RUN_LABEL: run_id},
        "annotations": {"a": "b"},
    }
    copied = next(Path(kube.out).rglob("m.jsonl"))
    assert made["spec"].pop("entrypoint").split() == [
        *("wanfarm", "render", str(copied), f"--out={kube.out}", "--address=auto", "--gpus=8", "--max-failed=100%"),
        f"--expect-run={run_id}",
    ]
    environment = yaml.safe_load(made["spec"].pop("runtimeEnvYAML"))["env_vars"]
    assert environment == {"RAY_JOB_STOP_WAIT_TIME_S": "300", "X": "y"}
    assert made["spec"] == {"backoffLimit": 3, "suspend": True, "rayClusterSpec": {"rayVersion": "2.60.0"}}
    assert "status" not in made
    assert not (kube.cluster / "calls").exists()


def test_flags_count_for_more_than_the_template(kube: Kube, capsys: pytest.CaptureFixture[str]) -> None:
    assert kube.submit("--gpus", "4", "--max-failed", "3", "--namespace", "farm", "--grace", "100") == 0
    made = yaml.safe_load(capsys.readouterr().out)
    assert made["metadata"]["namespace"] == "farm"
    assert {"--gpus=4", "--max-failed=3", "--grace=100.0"} < set(made["spec"]["entrypoint"].split())


def test_secrets_stay_here(kube: Kube, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("WANFARM_STORAGE_OPTIONS", '{"s3": {"key": "id", "secret": "hush-hush"}}')
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hush-hush")
    assert kube.submit("--kube-apply") == 0
    assert kube.submit() == 0
    said = capsys.readouterr()
    assert "hush" not in said.out + said.err + json.dumps(kube.jobs) + str(kube.calls)


def test_an_unfinished_rayjob_is_found(kube: Kube, capsys: pytest.CaptureFixture[str]) -> None:
    assert kube.submit("--kube-apply", "--json", "--namespace", "farm") == 0
    first = json.loads(capsys.readouterr().out)
    assert (first["job"], first["was_there"]) == (f"farm-{first['run_id']}-1", False)
    assert kube.calls == [
        ["get", "rayjobs.ray.io", f"--selector={RUN_LABEL}={first['run_id']}", "-o=json", "--namespace", "farm"],
        ["create", "-f=-", "--namespace", "farm"],
    ]
    for state in ("", "Running", "Suspended", "Retrying"):
        kube.end(state)
        assert kube.submit("--kube-apply") == 0
        said = capsys.readouterr().out
        assert f"job {first['job']} is at it already ({state or 'New'})" in said
        assert f"  and then:   kubectl delete rayjob/{first['job']}\n" in said
    for number, state in enumerate(("Complete", "Failed", "ValidationFailed"), start=2):
        kube.end(state)
        assert kube.submit("--kube-apply") == 0
        assert f"submitted job farm-{first['run_id']}-{number}" in capsys.readouterr().out
        assert len(kube.jobs) == number


def test_of_two_at_once_the_second_finds_the_first(kube: Kube, capsys: pytest.CaptureFixture[str]) -> None:
    assert kube.submit() == 0
    rival = yaml.safe_load(capsys.readouterr().out)
    (kube.cluster / "rival").write_text(json.dumps(rival))
    assert kube.submit("--kube-apply") == 0
    assert "is at it already" in capsys.readouterr().out
    assert len(kube.jobs) == 1


def test_kubectl_is_heard(kube: Kube, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    log = 'E1128 23:44:31.460253 1 memcache.go:381] "no list"\n'
    (kube.cluster / "fault").write_text(log + "error: the server doesn't have a resource type rayjobs")
    assert kube.submit("--kube-apply") == 2
    assert capsys.readouterr().err == "wanfarm: kubectl get: error: the server doesn't have a resource type rayjobs\n"
    monkeypatch.setenv("PATH", "/nowhere")
    assert kube.submit("--kube-apply") == 2
    assert "--kube-apply needs kubectl on PATH" in capsys.readouterr().err
    assert kube.submit() == 0


def changed(**spec: object) -> dict[str, Any]:
    return {
        **TEMPLATE,
        "spec": {key: value for key, value in {**TEMPLATE["spec"], **spec}.items() if value is not None},
    }


@pytest.mark.parametrize(
    ("documents", "says"),
    [
        ([], "no documents"),
        ([ACCOUNT, ACCOUNT], "2 ServiceAccount"),
        ([ACCOUNT, {**TEMPLATE, "kind": "RayCluster"}], "1 ServiceAccount, 1 RayCluster"),
        ([TEMPLATE, ACCOUNT, TEMPLATE], "2 RayJob, 1 ServiceAccount"),
        ([["a list"]], "1 list"),
        ([changed(entrypoint=None)], "no spec.entrypoint"),
        ([changed(entrypoint="wanfarm 'render")], "is no command"),
        ([changed(entrypoint="wanfarm render --gpus many")], "--gpus"),
        ([changed(submissionMode="InteractiveMode")], "InteractiveMode"),
        ([changed(runtimeEnvYAML="[1, 2")], "runtimeEnvYAML"),
        ([changed(runtimeEnvYAML="env_vars: [1]")], "runtimeEnvYAML"),
        ([{**TEMPLATE, "apiVersion": "batch/v1"}], "not ray.io/v1"),
        ([{**TEMPLATE, "metadata": None}], "no metadata"),
        ([{**TEMPLATE, "spec": "x"}], "no spec.entrypoint"),
    ],
)
def test_other_templates_are_refused(
    documents: list[object], says: str, kube: Kube, capsys: pytest.CaptureFixture[str]
) -> None:
    kube.write(*documents)
    assert kube.submit() == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert says in line
    assert not Path(kube.out).exists()


def test_a_file_that_is_no_yaml(kube: Kube, capsys: pytest.CaptureFixture[str]) -> None:
    kube.template.write_text("kind: [RayJob")
    assert kube.submit() == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"--kube cannot read {kube.template}" in line


@pytest.mark.parametrize("model", ["/models/my model", "/models/$HOME", "/models/it's"])
def test_a_command_that_two_shells_would_change_is_refused(
    model: str, kube: Kube, capsys: pytest.CaptureFixture[str]
) -> None:
    assert kube.submit("--model", model, "--fingerprint", "0" * 64) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{model!r}"[1:-1] in line
    assert "would not survive" in line
