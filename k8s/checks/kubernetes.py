"""Kubernetes' own schemas, strictly: unknown fields are faults. Pods inside of Ray's objects are checked as pods."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import kubernetes_validate

from k8s.checks.faults import Fault
from k8s.checks.objects import name_of, pods
from k8s.checks.rendering import Objects

# The oldest that knows every field used (matchLabelKeys of pod affinity), and the newest there is.
VERSIONS = ("1.31", "1.37")
# Kinds that others define and whose schemas are not at hand.
FOREIGN = ("ray.io/", "kueue.x-k8s.io/", "scheduling.volcano.sh/", "monitoring.coreos.com/")

RULE = "kubernetes"


def schema_faults(objects: Objects) -> Iterator[Fault]:
    """Of each object and each pod, the first that each version finds."""
    for found in objects:
        if not str(found.get("apiVersion", "")).startswith(FOREIGN):
            yield from _faults(found, where=name_of(found))
    for pod in pods(objects):
        metadata = {"name": "any", **pod.template.get("metadata", {})}
        document = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": dict(pod.spec)}
        yield from _faults(document, where=pod.where)


def _faults(document: dict[str, Any], *, where: str) -> Iterator[Fault]:
    for what in _found(json.dumps(document, sort_keys=True)):
        yield Fault(where=where, rule=RULE, what=what)


@lru_cache(maxsize=1024)
def _found(text: str) -> tuple[str, ...]:
    """Of a document in JSON: pods and policies come again and again, in overlays and in groups."""
    document, seen = json.loads(text), dict[str, None]()
    for version in VERSIONS:
        try:
            kubernetes_validate.validate(document, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            place = ".".join(str(part) for part in error.path)
            what = f"{place}: {error.message}"
        except kubernetes_validate.SchemaNotFoundError:
            what = f"{document.get('apiVersion')} {document.get('kind')} is no kind of Kubernetes {version}"
        else:
            continue
        seen[what] = None
    return tuple(seen)
