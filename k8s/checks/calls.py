"""What RayJobs and RayServices of the farm are told to do, as the farm itself reads it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import yaml
from cyclopts import CycloptsError

from deployments.config import AppConfig
from deployments.config.serve_file import parse_serve_file
from farm.calibration import device_kind
from farm.errors import UsageError
from farm.models import Card, ModelRef
from farm.models.catalogue import CARDS
from farm.normalise import normalise
from farm.parallelism import ParallelPlan
from farm.request import RowRequest
from farm.spec import ClipSpec, RenderOptions
from jobs.calls import Asked, Execution, FailureBudget
from jobs.cli import app, render
from k8s.checks.objects import Cluster, clusters
from k8s.checks.rendering import Objects


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderJob:
    """A RayJob that renders a manifest."""

    cluster: Cluster
    manifest: str
    out: str
    asked: Asked
    execution: Execution
    max_failed: FailureBudget
    environment: dict[str, str]

    @property
    def spec(self) -> dict[str, Any]:
        found: dict[str, Any] = self.cluster.owner["spec"]
        return found

    @property
    def parallel(self) -> ParallelPlan:
        """How many devices share a clip; one where the planner is to choose."""
        degrees = self.execution.degrees
        return ParallelPlan(
            ulysses_degree=degrees.ulysses_degree or 1,
            cfg_degree=degrees.cfg_degree or 1,
            num_hosts=degrees.hosts_per_gang or 1,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """A RayService of the farm's application."""

    cluster: Cluster
    config: AppConfig

    @property
    def spec(self) -> dict[str, Any]:
        found: dict[str, Any] = self.cluster.owner["spec"]
        return found


def render_jobs(objects: Objects) -> list[RenderJob]:
    """Those whose entry point can be read; `policies.jobs.entry_point` names the others."""
    found = []
    for cluster in clusters(objects):
        if cluster.kind == "RayJob":
            try:
                found.append(render_job(cluster))
            except UsageError:
                continue
    return found


def render_job(cluster: Cluster) -> RenderJob:
    """UsageError where its entry point is no call of `wanfarm render`."""
    spec = cluster.owner.get("spec") or {}
    words = shlex.split(str(spec.get("entrypoint", "")))
    if words[:2] != ["wanfarm", "render"]:
        raise UsageError(f"the entry point is {' '.join(words[:2])!r}, not 'wanfarm render'")
    try:
        command, bound, _ = app.parse_args(words[1:], exit_on_error=False, print_error=False)
    except CycloptsError as error:
        raise UsageError(f"the entry point is no call of wanfarm render: {' '.join(str(error).split())}") from error
    if command is not render:
        raise UsageError("the entry point asks for help")
    given = bound.arguments
    runtime = yaml.safe_load(spec.get("runtimeEnvYAML") or "{}") or {}
    return RenderJob(
        cluster=cluster,
        manifest=given["manifest"],
        out=given["out"],
        asked=given.get("asked", Asked()),
        execution=given.get("execution", Execution()),
        max_failed=FailureBudget.parse(given.get("max_failed", "0")),
        environment={key: str(value) for key, value in (runtime.get("env_vars") or {}).items()},
    )


def services(objects: Objects) -> list[Service]:
    """Those whose Serve file has no faults; `policies.services.serve_file` names the others."""
    found = []
    for cluster in clusters(objects):
        if cluster.kind == "RayService":
            try:
                found += services_of(cluster)
            except UsageError:
                continue
    return found


def services_of(cluster: Cluster) -> list[Service]:
    """UsageError naming every fault of its Serve file."""
    text = str((cluster.owner.get("spec") or {}).get("serveConfigV2", ""))
    parsed = parse_serve_file(text, source="serveConfigV2")
    return [Service(cluster=cluster, config=config) for config in parsed.applications.values()]


def card_of(model: str) -> Card | None:
    """By the name, or the last part of the folder: "/models/Wan2.1-T2V-14B-Diffusers" is wan2.1-t2v-14b."""
    name = device_kind(model.rstrip("/").rpartition("/")[2])
    names: Sequence[str] = [known for known in CARDS if name == known or name.startswith(known + "-")]
    return CARDS[max(names, key=len)] if names else None


def largest_clip(card: Card) -> ClipSpec:
    """As large and as long as the card allows, with its usual steps."""
    width, height = card.limits.max_size
    num_frames = 4 * int(card.limits.max_seconds * card.defaults.fps / 4) + 1
    request = RowRequest(prompt="-", width=width, height=height, num_frames=num_frames)
    model = ModelRef(name=card.name, path="", card=card, fingerprint="")
    return normalise(request, model, options=RenderOptions(), seed=0)


def outputs(objects: Objects) -> Iterator[tuple[Cluster, str]]:
    """Every address that something is read from or written to, and for which cluster."""
    for job in render_jobs(objects):
        yield job.cluster, job.out
        yield job.cluster, job.manifest
    for service in services(objects):
        yield service.cluster, service.config.out
