"""Rules of Ray and KubeRay that no schema holds."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import version

from k8s.checks.faults import Fault
from k8s.checks.objects import GPU, clusters
from k8s.checks.rendering import Objects

AUTH_SINCE = (2, 52)
# Of labels with Ray's own prefix, those that are for whoever runs the cluster to set.
SETTABLE = ("ray.io/gpu-domain", "ray.io/accelerator-type", "ray.io/market-type", "ray.io/availability-zone")
_DEAD = ("serviceUnhealthySecondThreshold", "deploymentUnhealthySecondThreshold")


def ray_version(objects: Objects) -> Iterator[Fault]:
    """The one that this project is pinned to: a cluster of another refuses its drivers."""
    for cluster in clusters(objects):
        found, own = cluster.spec.get("rayVersion"), version("ray")
        if found != own:
            yield Fault(where=cluster.where, rule="ray-version", what=f"rayVersion is {found}, the farm's is {own}")


def token_auth(objects: Objects) -> Iterator[Fault]:
    """`authOptions` without a mode is no authentication, whatever it looks like."""
    for cluster in clusters(objects):
        auth = cluster.spec.get("authOptions") or {}
        if auth.get("mode") != "token":
            what = "whoever reaches the head may run code: set authOptions.mode: token (without a mode there is none)"
            yield Fault(where=cluster.where, rule="token-auth", what=what)
        elif not auth.get("secretName"):
            yield Fault(where=cluster.where, rule="token-auth", what="authOptions names no secretName")
        if auth and not _at_least(str(cluster.spec.get("rayVersion", "")), AUTH_SINCE):
            what = "token authentication needs rayVersion to be set, to 2.52 or later"
            yield Fault(where=cluster.where, rule="token-auth", what=what)
        if auth.get("enableK8sTokenAuth") and cluster.kind != "RayCluster":
            what = f"tokens of Kubernetes are not for a {cluster.kind}: leave enableK8sTokenAuth out"
            yield Fault(where=cluster.where, rule="token-auth", what=what)


def head(objects: Objects) -> Iterator[Fault]:
    """It keeps the books and nothing else, or a gang that fills it would take the whole cluster down."""
    for cluster in clusters(objects):
        params = (cluster.spec.get("headGroupSpec") or {}).get("rayStartParams") or {}
        if params.get("num-cpus") != "0":
            yield Fault(where=cluster.head.where, rule="head", what='set rayStartParams num-cpus: "0"')
        if cluster.head.limit(GPU):
            yield Fault(where=cluster.head.where, rule="head", what="a head with GPUs would hold them for nobody")


def autoscaling(objects: Objects) -> Iterator[Fault]:
    """Version 2, which knows labels and priorities of groups and replaces pods instead of restarting them."""
    for cluster in clusters(objects):
        if cluster.spec.get("enableInTreeAutoscaling"):
            options = cluster.spec.get("autoscalerOptions") or {}
            if options.get("version") != "v2":
                yield Fault(where=cluster.where, rule="autoscaling", what="set autoscalerOptions.version: v2")
            for pod in cluster.nodes:
                if pod.spec.get("restartPolicy", "Never") != "Never":
                    what = "the autoscaler replaces pods: leave restartPolicy out"
                    yield Fault(where=pod.where, rule="autoscaling", what=what)
        for group in cluster.groups:
            least, now, most = (group.spec.get(key, 0) for key in ("minReplicas", "replicas", "maxReplicas"))
            if not least <= now <= most:
                what = f"replicas {now} are not between minReplicas {least} and maxReplicas {most}"
                yield Fault(where=group.pod.where, rule="autoscaling", what=what)


def node_labels(objects: Objects) -> Iterator[Fault]:
    for cluster in clusters(objects):
        for group in cluster.groups:
            for key in group.labels:
                if key.startswith("ray.io/") and key not in SETTABLE:
                    what = f"the label {key} is Ray's own to set (yours: {', '.join(SETTABLE)}, or another prefix)"
                    yield Fault(where=group.pod.where, rule="node-labels", what=what)


def gates(objects: Objects) -> Iterator[Fault]:
    """What is ignored, or refused, by an operator whose alpha features are off as they come."""
    for cluster in clusters(objects):
        spec = cluster.spec
        alpha = {
            "gcsFaultToleranceOptions.backend: rocksdb": (spec.get("gcsFaultToleranceOptions") or {}).get("backend")
            == "rocksdb",
            "networkPolicy": "networkPolicy" in spec,
            "tlsOptions.enabled": (spec.get("tlsOptions") or {}).get("enabled"),
            "historyServerOptions": "historyServerOptions" in spec,
        }
        for name in (name for name, is_used in alpha.items() if is_used):
            yield Fault(where=cluster.where, rule="gates", what=f"{name} is alpha and off in operators as they come")
        for name in _DEAD:
            if name in (cluster.owner.get("spec") or {}):
                yield Fault(where=cluster.where, rule="gates", what=f"{name} does nothing any more: leave it out")


def _at_least(text: str, least: tuple[int, int]) -> bool:
    parts = text.split(".")[:2]
    return len(parts) == 2 and all(part.isdigit() for part in parts) and tuple(map(int, parts)) >= least
