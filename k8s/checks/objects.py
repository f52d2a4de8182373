"""Rendered objects as the rules look at them: pods wherever they are described, Ray clusters wherever they are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from k8s.checks.quantities import quantity
from k8s.checks.rendering import Objects

GPU = "nvidia.com/gpu"
GIB = 2**30

# Where a Ray cluster lies in an object of that kind, and the pod template of any other kind.
CLUSTER_KEYS = {"RayCluster": None, "RayJob": "rayClusterSpec", "RayService": "rayClusterConfig"}
_TEMPLATED = ("Deployment", "StatefulSet", "DaemonSet", "Job")


def name_of(found: Mapping[str, Any]) -> str:
    """ "RayJob/wanfarm"."""
    return f"{found.get('kind')}/{found.get('metadata', {}).get('name')}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pod:
    """A pod as some object describes it. `ray_labels` are those that KubeRay will add."""

    where: str
    template: Mapping[str, Any]
    ray_labels: Mapping[str, str]

    @property
    def is_ray(self) -> bool:
        return bool(self.ray_labels)

    @property
    def spec(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self.template.get("spec") or {}
        return found

    @property
    def labels(self) -> dict[str, str]:
        return {**(self.template.get("metadata") or {}).get("labels", {}), **self.ray_labels}

    @property
    def containers(self) -> list[Mapping[str, Any]]:
        return [*self.spec.get("initContainers", []), *self.spec.get("containers", [])]

    @property
    def main(self) -> Mapping[str, Any]:
        """The container that Ray, or whatever the pod is for, runs in."""
        return next(iter(self.spec.get("containers", [])), {})

    @property
    def environment(self) -> dict[str, str]:
        return {entry["name"]: str(entry.get("value", "")) for entry in self.main.get("env", [])}

    @property
    def ports(self) -> dict[str, int]:
        """By name."""
        return {port.get("name", ""): port["containerPort"] for port in self.main.get("ports", [])}

    def limit(self, resource: str) -> float:
        return quantity((self.main.get("resources", {}).get("limits") or {}).get(resource, 0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """A worker group of a Ray cluster."""

    spec: Mapping[str, Any]
    pod: Pod

    @property
    def name(self) -> str:
        return str(self.spec.get("groupName"))

    @property
    def labels(self) -> dict[str, str]:
        """Ray's, of its nodes."""
        return dict(self.spec.get("labels") or {})

    @property
    def num_hosts(self) -> int:
        return int(self.spec.get("numOfHosts", 1))

    @property
    def max_pods(self) -> int:
        """At most, of all its replicas."""
        return int(self.spec.get("maxReplicas", 1)) * self.num_hosts

    @property
    def gpus(self) -> int:
        """Of one pod."""
        return int(self.pod.limit(GPU))

    @property
    def cpus(self) -> float:
        """Of one pod, as Ray counts them."""
        own = (self.spec.get("rayStartParams") or {}).get("num-cpus")
        return float(own) if own is not None else self.pod.limit("cpu")

    @property
    def memory_bytes(self) -> float:
        """Of one pod, less what Ray takes for its object store."""
        store = float((self.spec.get("rayStartParams") or {}).get("object-store-memory", 0))
        return self.pod.limit("memory") - store


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """A Ray cluster and the object it is part of."""

    owner: Mapping[str, Any]
    spec: Mapping[str, Any]

    @property
    def where(self) -> str:
        return name_of(self.owner)

    @property
    def kind(self) -> str:
        return str(self.owner["kind"])

    @property
    def head(self) -> Pod:
        head = self.spec.get("headGroupSpec") or {}
        labels = {"ray.io/is-ray-node": "yes", "ray.io/node-type": "head", "ray.io/group": "headgroup"}
        return Pod(where=f"{self.where} head", template=head.get("template") or {}, ray_labels=labels)

    @property
    def groups(self) -> list[Group]:
        found = []
        for spec in self.spec.get("workerGroupSpecs") or []:
            name = str(spec.get("groupName"))
            labels = {"ray.io/is-ray-node": "yes", "ray.io/node-type": "worker", "ray.io/group": name}
            pod = Pod(where=f"{self.where} {name}", template=spec.get("template") or {}, ray_labels=labels)
            found.append(Group(spec=spec, pod=pod))
        return found

    @property
    def gpu_groups(self) -> list[Group]:
        return [group for group in self.groups if group.gpus]

    @property
    def nodes(self) -> list[Pod]:
        return [self.head, *(group.pod for group in self.groups)]


def clusters(objects: Objects) -> list[Cluster]:
    """Every Ray cluster."""
    found = []
    for entry in objects:
        if entry.get("kind") in CLUSTER_KEYS:
            key, spec = CLUSTER_KEYS[entry["kind"]], entry.get("spec") or {}
            found.append(Cluster(owner=entry, spec=spec if key is None else spec.get(key) or {}))
    return found


def pods(objects: Objects) -> Iterator[Pod]:
    """Every pod that these objects will bring about."""
    for cluster in clusters(objects):
        yield from cluster.nodes
        submitter = (cluster.owner.get("spec") or {}).get("submitterPodTemplate")
        if submitter:
            yield Pod(where=f"{cluster.where} submitter", template=submitter, ray_labels={})
    for entry in of_kind(objects, *_TEMPLATED):
        yield Pod(where=name_of(entry), template=entry["spec"]["template"], ray_labels={})


def of_kind(objects: Objects, *kinds: str) -> Sequence[dict[str, Any]]:
    return [found for found in objects if found.get("kind") in kinds]


def names_of_kind(objects: Objects, *kinds: str) -> set[str]:
    return {found["metadata"]["name"] for found in of_kind(objects, *kinds)}
