"""Makes the compact schema from KubeRay's definitions: `python -m k8s.checks.compact FOLDER`.

The definitions are megabytes, nearly all of it pods, which Kubernetes' own schemas know. What is kept are the fields
that the overlays set, those that are checked to be absent, and every rule on them.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from k8s.checks.crds import COMPACT, FREE, RULES, Schema, full_schemas
from k8s.checks.overlays import OVERLAYS
from k8s.checks.rendering import rendered

KEPT = ("type", "default", "enum", "format", "minimum", "minItems", "required", "nullable", FREE, RULES)
KEPT_INT_OR_STRING = "x-kubernetes-int-or-string"
POD: Schema = {"type": "object", FREE: True}
_PODS = ("template", "submitterPodTemplate")
_FREE = ("status", "metadata", "securityContext", "resources", "volumeMounts", "valueFrom")
_CLUSTER = {
    "gcsFaultToleranceOptions": {"backend": "", "storage": {"claimName": ""}},
    "authOptions": {"enableK8sTokenAuth": True},
    "networkPolicy": {"mode": ""},
    "tlsOptions": {"enabled": True},
    "managedBy": "",
    "suspend": True,
    "workerGroupSpecs": [{"suspend": True, "idleTimeoutSeconds": 1, "priority": 1, "numOfHosts": 1, "labels": {}}],
}
_OPTIONS = {"gatewayClassName": "", "stepSizePercent": 1, "intervalSeconds": 1, "maxSurgePercent": 1}
_CONDITION = {"jobStatus": "", "jobDeploymentStatus": "", "ttlSeconds": 1}
# Fields that rules are about and no overlay sets.
ALSO: Mapping[str, Mapping[str, Any]] = {
    "RayCluster": {"spec": _CLUSTER},
    "RayJob": {
        "spec": {
            "rayClusterSpec": _CLUSTER,
            "clusterSelector": {},
            "activeDeadlineSeconds": 1,
            "deletionStrategy": {
                "onSuccess": {"policy": ""},
                "onFailure": {"policy": ""},
                "deletionRules": [{"policy": "", "condition": _CONDITION}],
            },
            "managedBy": "",
            "suspend": True,
        }
    },
    "RayService": {
        "spec": {
            "rayClusterConfig": _CLUSTER,
            "upgradeStrategy": {"clusterUpgradeOptions": _OPTIONS},
            "serviceUnhealthySecondThreshold": 1,
            "deploymentUnhealthySecondThreshold": 1,
            "managedBy": "",
            "suspend": True,
        }
    },
}


def compacted(schema: Schema, samples: Iterable[Any]) -> Schema:
    """Of the fields that any sample has."""
    samples = [sample for sample in samples if sample is not None]
    kept = {key: schema[key] for key in (*KEPT, KEPT_INT_OR_STRING) if key in schema}
    if "properties" in schema:
        kept["properties"] = {}
        for name, part in sorted(schema["properties"].items()):
            values = [sample[name] for sample in samples if isinstance(sample, dict) and name in sample]
            if name in _PODS or name in _FREE:
                kept["properties"][name] = POD if part.get("type") == "object" else {"type": part["type"]}
            elif values or name in schema.get("required", ()):
                kept["properties"][name] = compacted(part, values)
    if "items" in schema:
        items = [item for sample in samples if isinstance(sample, list) for item in sample]
        kept["items"] = compacted(schema["items"], items)
    if isinstance(schema.get("additionalProperties"), dict):
        kept["additionalProperties"] = compacted(schema["additionalProperties"], ())
    return kept


def compact(folder: Path) -> str:
    """The file's text."""
    objects = [found for overlay in OVERLAYS for found in rendered(overlay)]
    schemas = {}
    for kind, schema in full_schemas(folder).items():
        samples = [found for found in objects if found["kind"] == kind]
        schemas[kind] = compacted(schema, [*samples, ALSO[kind]])
    return json.dumps(schemas, indent=1, sort_keys=True) + "\n"


if __name__ == "__main__":
    COMPACT.write_text(compact(Path(sys.argv[1])))
