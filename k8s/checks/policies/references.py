"""What objects refer to is there: secrets, volumes, accounts, priorities; and budgets that count some pod."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from k8s.checks.faults import Fault
from k8s.checks.objects import clusters, name_of, names_of_kind, of_kind, pods
from k8s.checks.rendering import Objects

# On a Namespace: secrets that are made beforehand, with their keys. No secret belongs into a manifest.
MADE_BEFORE = "secrets.wanfarm.io/"
AUTH_KEY = "auth_token"
_OF_NO_NAMESPACE = ("Namespace", "PriorityClass", "ResourceFlavor", "ClusterQueue", "Queue")
_SYSTEM_PRIORITIES = ("system-cluster-critical", "system-node-critical")


def made_before(objects: Objects) -> dict[str, set[str]]:
    """Keys of each secret that whoever installs this makes beforehand."""
    found = dict[str, set[str]]()
    for namespace in of_kind(objects, "Namespace"):
        for name, keys in (namespace["metadata"].get("annotations") or {}).items():
            if name.startswith(MADE_BEFORE):
                found[name.removeprefix(MADE_BEFORE)] = {key.strip() for key in keys.split(",")}
    return found


def secrets(objects: Objects) -> Iterator[Fault]:
    """Each one that is asked for is among those made beforehand; none is written here."""
    known = made_before(objects)
    for found in of_kind(objects, "Secret"):
        yield Fault(
            where=name_of(found), rule="secrets", what="secrets do not belong into manifests: make it by kubectl"
        )
    for where, name, key in sorted(set(_asked(objects))):
        if name not in known:
            what = f"secret {name} is not among those made beforehand: name it on the Namespace as {MADE_BEFORE}{name}"
            yield Fault(where=where, rule="secrets", what=what)
        elif key and key not in known[name]:
            yield Fault(where=where, rule="secrets", what=f"secret {name} has no key {key}")


def _asked(objects: Objects) -> Iterator[tuple[str, str, str]]:
    for pod in pods(objects):
        for reference in _references(pod.template):
            if not reference.get("optional"):
                yield pod.where, str(reference.get("name") or reference.get("secretName")), reference.get("key") or ""
    for cluster in clusters(objects):
        auth = cluster.spec.get("authOptions") or {}
        if auth.get("mode") == "token":
            yield cluster.where, str(auth.get("secretName")), AUTH_KEY
        password = (cluster.spec.get("gcsFaultToleranceOptions") or {}).get("redisPassword") or {}
        source = password.get("valueFrom") or {}
        if "secretKeyRef" in source:
            yield cluster.where, source["secretKeyRef"]["name"], source["secretKeyRef"]["key"]


def _references(value: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(value, dict):
        for key, part in value.items():
            if key in ("secretRef", "secretKeyRef") or (key == "secret" and isinstance(part, dict)):
                yield part
            else:
                yield from _references(part)
    elif isinstance(value, list):
        for item in value:
            yield from _references(item)


def references(objects: Objects) -> Iterator[Fault]:
    """Volume claims, service accounts and priority classes."""
    claims, accounts = names_of_kind(objects, "PersistentVolumeClaim"), names_of_kind(objects, "ServiceAccount")
    classes = {*names_of_kind(objects, "PriorityClass"), *_SYSTEM_PRIORITIES}
    for pod in pods(objects):
        asked = [(volume.get("persistentVolumeClaim") or {}).get("claimName") for volume in pod.spec.get("volumes", [])]
        wanted = [("volume claim", claims, name) for name in asked]
        wanted.append(("service account", {*accounts, "default"}, pod.spec.get("serviceAccountName")))
        wanted.append(("priority class", classes, pod.spec.get("priorityClassName")))
        for what, there, name in wanted:
            if name is not None and name not in there:
                yield Fault(where=pod.where, rule="references", what=f"there is no {what} {name}")


def namespaces(objects: Objects) -> Iterator[Fault]:
    """All in the one that is among the objects: where policies, budgets and accounts are."""
    own = next(iter(names_of_kind(objects, "Namespace")), None)
    for found in objects:
        there = found["metadata"].get("namespace")
        if own is not None and found["kind"] not in _OF_NO_NAMESPACE and there != own:
            what = f"it is in {'no namespace' if there is None else there}, all else in {own}: put it into each overlay"
            yield Fault(where=name_of(found), rule="namespaces", what=what)


def budgets(objects: Objects) -> Iterator[Fault]:
    """Pods of a RayCluster are counted by a whole minAvailable: the controller knows no scale of theirs."""
    described = [pod.labels for pod in pods(objects)]
    for found in of_kind(objects, "PodDisruptionBudget"):
        spec, where = found["spec"], name_of(found)
        if not isinstance(spec.get("minAvailable"), int):
            what = "a RayCluster has no scale to take a share of: give minAvailable as a number"
            yield Fault(where=where, rule="budgets", what=what)
        wanted = (spec.get("selector") or {}).get("matchLabels") or {}
        if not any(wanted.items() <= labels.items() for labels in described):
            yield Fault(where=where, rule="budgets", what=f"no pod has the labels {wanted}")
