"""RayServices: a Serve file without faults, upgrades that no clip notices, and outputs that every pod sees."""

from __future__ import annotations

from collections.abc import Iterator

from deployments.app import FAREWELL_S
from deployments.config import ModelConfig
from farm.cost import Fleet, clip_seconds, work_of
from farm.errors import UsageError
from k8s.checks.calls import Service, card_of, largest_clip, outputs, services, services_of
from k8s.checks.faults import Fault
from k8s.checks.objects import clusters
from k8s.checks.rendering import Objects

DRAIN = "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S"
RAY_DRAIN_S = 30.0
# On a RayService: seconds, where the cost model knows nothing of the device. As measured, or from `wanfarm plan`.
LONGEST = "wanfarm.io/longest-clip-s"
# What a process takes to go, after its clip is put down.
EXIT_S = 15.0
DELETION_DELAY_S = 60.0


def serve_file(objects: Objects) -> Iterator[Fault]:
    """As `wanfarm serve --check` sees it: Serve itself passes over what it does not know."""
    for cluster in clusters(objects):
        if cluster.kind == "RayService":
            try:
                services_of(cluster)
            except UsageError as error:
                yield Fault(where=cluster.where, rule="serve-file", what=str(error))


def upgrades(objects: Objects) -> Iterator[Fault]:
    """The old cluster stays for longer than the longest clip; shares of traffic move in steps that fit."""
    for service in services(objects):
        where = service.cluster.where
        delay_s = float(service.spec.get("rayClusterDeletionDelaySeconds", DELETION_DELAY_S))
        for model in service.config.models:
            longest_s = longest_clip_s(service, model)
            if longest_s is None:
                what = f"how long a clip of {model.model} takes on {model.device} is not known: annotate {LONGEST}"
                yield Fault(where=where, rule="upgrades", what=what)
            elif delay_s <= longest_s:
                what = (
                    f"rayClusterDeletionDelaySeconds is {delay_s:g}, but the longest clip of {model.model} takes about "
                    f"{longest_s:.0f} s"
                )
                yield Fault(where=where, rule="upgrades", what=what)
        options = (service.spec.get("upgradeStrategy") or {}).get("clusterUpgradeOptions") or {}
        if options and options.get("stepSizePercent", 0) > options.get("maxSurgePercent", 100):
            what = "stepSizePercent is more than maxSurgePercent, which the operator refuses"
            yield Fault(where=where, rule="upgrades", what=what)


def draining(objects: Objects) -> Iterator[Fault]:
    """A pod that has to go: Serve's drain fits into Ray's, Ray's into the pod's."""
    for service in services(objects):
        needed_s = max(model.drain_s for model in service.config.models) + FAREWELL_S
        groups = service.cluster.gpu_groups or service.cluster.groups
        for pod in (group.pod for group in groups):
            drain_s = float(pod.environment.get(DRAIN, RAY_DRAIN_S))
            if drain_s < needed_s:
                what = f"{DRAIN} is {drain_s:g}, a gang needs {needed_s:g} s (drain_s and a farewell)"
                yield Fault(where=pod.where, rule="draining", what=what)
    for cluster in clusters(objects):
        for pod in cluster.nodes:
            drain_s = float(pod.environment.get(DRAIN, RAY_DRAIN_S))
            grace_s = float(pod.spec.get("terminationGracePeriodSeconds", 30))
            if grace_s < drain_s + EXIT_S:
                what = f"terminationGracePeriodSeconds is {grace_s:g}, less than {DRAIN} ({drain_s:g}) and {EXIT_S:g} s"
                yield Fault(where=pod.where, rule="draining", what=what)


def shared_outputs(objects: Objects) -> Iterator[Fault]:
    """Object storage, or a volume claim that is mounted in every pod; or what the image has."""
    for cluster, address in outputs(objects):
        if "://" in address or address.startswith("/app/"):
            continue
        for pod in cluster.nodes:
            claims = {volume["name"] for volume in pod.spec.get("volumes", []) if "persistentVolumeClaim" in volume}
            mounts = [mount for mount in pod.main.get("volumeMounts", []) if mount["name"] in claims]
            if not any(address.startswith(mount["mountPath"].rstrip("/") + "/") for mount in mounts):
                what = f"{address} is on no volume claim of this pod: use object storage, or mount one in all pods"
                yield Fault(where=pod.where, rule="shared-outputs", what=what)


def longest_clip_s(service: Service, model: ModelConfig) -> float | None:
    """Of the largest and longest clip that the model's card allows, on a gang as configured."""
    told = (service.cluster.owner["metadata"].get("annotations") or {}).get(LONGEST)
    if told is not None:
        return float(told)
    card = card_of(model.model)
    if card is None:
        return None
    fleet = Fleet(device=model.device, threads=model.threads, parallel=model.parallel)
    return clip_seconds(work_of(largest_clip(card), card), None, fleet)
