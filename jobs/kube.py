"""A run as a RayJob of KubeRay: made from a RayJob that an overlay rendered, and kept by kubectl.

The template is whatever `kubectl kustomize` printed, with all its documents; its one RayJob gets a name, a label and an
entry point of this run, and keeps everything else.
"""

from __future__ import annotations

import copy
import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from farm.errors import UsageError
from jobs.submissions import FarmJob, job_number

RUN_LABEL = "wanfarm.io/run-id"
KIND = "rayjobs.ray.io"
# KubeRay's words for a RayJob that it has done with; one that it refused is among them.
ENDED = ("Complete", "Failed", "ValidationFailed")
KUBECTL_S = 60.0

Document = dict[str, Any]

# What every shell leaves as it is. An entry point passes two, and Ray's command line quotes for neither.
_PLAIN = re.compile(r"[A-Za-z0-9_@%+=:,./-]+")
_LOG_LINE = re.compile(r"[EWIF]\d{4} \d\d:")
_KEPT_METADATA = ("annotations", "labels", "namespace")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRayJob:
    """A RayJob of one run that lacks its name only."""

    run_id: str
    document: Document

    @property
    def scope(self) -> list[str]:
        """Where kubectl finds it."""
        namespace = self.document["metadata"].get("namespace")
        return [] if namespace is None else ["--namespace", namespace]

    def named(self, name: str) -> Document:
        """The whole of it."""
        document = copy.deepcopy(self.document)
        document["metadata"]["name"] = name
        return document


def read_template(path: str) -> Document:
    """The one RayJob in a file. UsageError saying what is wrong with it."""
    try:
        documents = [found for found in yaml.safe_load_all(Path(path).read_text()) if found is not None]
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UsageError(f"--kube cannot read {path}: {' '.join(str(error).split())}") from error
    kinds = [found.get("kind") if isinstance(found, dict) else type(found).__name__ for found in documents]
    if kinds.count("RayJob") != 1:
        raise UsageError(f"--kube takes a file with one RayJob; {path} has {_counted(kinds)}")
    template: Document = documents[kinds.index("RayJob")]
    fault = _fault_of(template)
    if fault is not None:
        raise UsageError(f"the RayJob in {path} cannot be used: {fault}")
    return template


def rayjob_of(
    template: Mapping[str, Any],
    *,
    run_id: str,
    arguments: Sequence[str],
    environment: Mapping[str, str],
    namespace: str | None = None,
) -> RunRayJob:
    """The template, made to run that command. UsageError where the command would not arrive as it is."""
    document = copy.deepcopy(dict(template))
    metadata = {key: document["metadata"][key] for key in _KEPT_METADATA if document["metadata"].get(key)}
    metadata["labels"] = {**metadata.get("labels", {}), RUN_LABEL: run_id}
    document["metadata"] = {**metadata, **({} if namespace is None else {"namespace": namespace})}
    document.pop("status", None)
    spec = document["spec"]
    spec.pop("jobId", None)  # a retry on the same cluster needs another
    spec["entrypoint"] = _entry_point(arguments)
    spec["runtimeEnvYAML"] = _runtime_env(spec.get("runtimeEnvYAML"), environment)
    return RunRayJob(run_id=run_id, document=document)


def as_yaml(document: Document) -> str:
    """As people write it."""
    return str(yaml.safe_dump(document, sort_keys=False, allow_unicode=True)).rstrip()


@dataclass(frozen=True, slots=True, kw_only=True)
class KubeSubmission:
    """A `JobStore` of RayJobs, in the cluster and namespace that kubectl is set to, or the RayJob's own."""

    rayjob: RunRayJob

    def jobs_of(self, run_id: str) -> list[FarmJob]:
        found = json.loads(_kubectl("get", KIND, f"--selector={RUN_LABEL}={run_id}", "-o=json", *self.rayjob.scope))
        return [_job(item) for item in found["items"] if job_number(item["metadata"]["name"], run_id) is not None]

    def create(self, name: str) -> None:
        _kubectl("create", "-f=-", *self.rayjob.scope, stdin=json.dumps(self.rayjob.named(name)))


def _job(item: Mapping[str, Any]) -> FarmJob:
    state = item.get("status", {}).get("jobDeploymentStatus") or "New"
    return FarmJob(name=item["metadata"]["name"], status=state, is_unfinished=state not in ENDED)


def _kubectl(*arguments: str, stdin: str = "") -> str:
    """What kubectl prints. UsageError with its own words where it fails."""
    program = shutil.which("kubectl")
    if program is None:
        raise UsageError("--kube-apply needs kubectl on PATH; without it the RayJob is printed")
    try:
        done = subprocess.run(
            [program, *arguments], input=stdin, capture_output=True, text=True, timeout=KUBECTL_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UsageError(f"kubectl {arguments[0]} does not answer: {error}") from error
    if done.returncode:
        raise UsageError(f"kubectl {arguments[0]}: {_error_in(done.stderr) or f'exit code {done.returncode}'}")
    return done.stdout


def _error_in(stderr: str) -> str:
    """What it says to people, without its log."""
    return "\n".join(line for line in stderr.splitlines() if not _LOG_LINE.match(line)).strip()


def _fault_of(template: Mapping[str, Any]) -> str | None:
    spec = template.get("spec")
    if not str(template.get("apiVersion", "")).startswith("ray.io/"):
        return f"its apiVersion is {template.get('apiVersion')!r}, not ray.io/v1"
    if not isinstance(template.get("metadata"), dict):
        return "it has no metadata"
    if not isinstance(spec, dict) or not spec.get("entrypoint"):
        return "it has no spec.entrypoint (whatever it says is replaced, but this looks like no batch job)"
    if not _is_command(spec["entrypoint"]):
        return f"its entrypoint {spec['entrypoint']!r} is no command"
    if spec.get("submissionMode") == "InteractiveMode":
        return "its submissionMode is InteractiveMode, which takes no entry point"
    return None if _is_runtime_env(spec.get("runtimeEnvYAML")) else "its runtimeEnvYAML is no YAML of a map"


def _is_command(text: object) -> bool:
    try:
        return isinstance(text, str) and bool(shlex.split(text))
    except ValueError:  # a quotation that does not end
        return False


def _is_runtime_env(text: object) -> bool:
    try:
        value = yaml.safe_load(str(text or "{}"))
    except yaml.YAMLError:
        return False
    return isinstance(value, dict) and isinstance(value.get("env_vars", {}), dict)


def _entry_point(arguments: Sequence[str]) -> str:
    odd = [argument for argument in arguments if not _PLAIN.fullmatch(argument)]
    if odd:
        raise UsageError(
            f"a RayJob's command passes two shells, which {odd[0]!r} would not survive: "
            "take names of letters, digits and any of _@%+=:,./-"
        )
    return " ".join(arguments)


def _runtime_env(given: str | None, environment: Mapping[str, str]) -> str:
    """The template's, with these variables where it does not set them."""
    runtime_env = yaml.safe_load(given or "{}")
    runtime_env["env_vars"] = {**environment, **runtime_env.get("env_vars", {})}
    return as_yaml(runtime_env) + "\n"


def _counted(kinds: Sequence[object]) -> str:
    if not kinds:
        return "no documents"
    return ", ".join(f"{kinds.count(kind)} {kind}" for kind in dict.fromkeys(kinds))
