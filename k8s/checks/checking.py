"""All checks of one overlay."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from k8s.checks.crds import Schema, compact_schemas, crd_faults
from k8s.checks.faults import Fault
from k8s.checks.kubernetes import schema_faults
from k8s.checks.policies import POLICIES
from k8s.checks.rendering import Objects


def faults_of(
    objects: Objects,
    *,
    schemas: Mapping[str, Schema] | None = None,
    before: Mapping[str, dict[str, Any]] | None = None,
) -> list[Fault]:
    """Every fault, schemas first: where a type is wrong, sums are not done.

    Args:
        schemas: KubeRay's, by kind; the compact ones if absent.
        before: what is in the cluster, by `objects.name_of`, for rules on changes.
    """
    known = compact_schemas() if schemas is None else schemas
    found = [*schema_faults(objects), *crd_faults(objects, known, before=before)]
    if not found:
        found = [fault for policy in POLICIES for fault in policy(objects)]
    return sorted(set(found))
