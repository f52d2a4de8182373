"""KubeRay's own schemas: types and unknown fields, with defaults filled in as by an API server, and CEL rules."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import cel
import yaml
from jsonschema import Draft202012Validator

from farm.errors import UsageError
from k8s.checks.faults import Fault
from k8s.checks.objects import name_of
from k8s.checks.rendering import Objects

COMPACT = Path(__file__).parent / "kuberay.json"
FILES = ("ray.io_rayclusters.yaml", "ray.io_rayjobs.yaml", "ray.io_rayservices.yaml")
# The served version that is not deprecated.
API_VERSION = "ray.io/v1"
FREE = "x-kubernetes-preserve-unknown-fields"
RULES = "x-kubernetes-validations"

Schema = dict[str, Any]


def compact_schemas() -> dict[str, Schema]:
    """By kind: of the fields that this project uses; pods in them are left to Kubernetes' own schemas."""
    found: dict[str, Schema] = json.loads(COMPACT.read_text())
    return found


def full_schemas(folder: Path) -> dict[str, Schema]:
    """By kind, from KubeRay's own definitions (its config/crd/bases). UsageError where one is missing."""
    found = {}
    for name in FILES:
        try:
            definition = yaml.load((folder / name).read_text(), Loader=yaml.CSafeLoader)
        except OSError as error:
            raise UsageError(f"not KubeRay's definitions: {error}") from error
        (version,) = [version for version in definition["spec"]["versions"] if version["name"] == "v1"]
        found[definition["spec"]["names"]["kind"]] = version["schema"]["openAPIV3Schema"]
    return found


def crd_faults(
    objects: Objects, schemas: Mapping[str, Schema], *, before: Mapping[str, dict[str, Any]] | None = None
) -> Iterator[Fault]:
    """Of Ray's objects.

    Args:
        before: the same objects as they are in a cluster, by `name_of`: for rules on what may change.
    """
    for found in objects:
        if not str(found.get("apiVersion")).startswith("ray.io/"):
            continue
        where = name_of(found)
        if found["apiVersion"] != API_VERSION or found["kind"] not in schemas:
            what = f"{found['apiVersion']} {found['kind']} is not checked: write {API_VERSION} {', '.join(schemas)}"
            yield Fault(where=where, rule="kuberay", what=what)
            continue
        schema = schemas[found["kind"]]
        value = with_defaults(schema, copy.deepcopy(found))
        old = (before or {}).get(where)
        yield from _schema_faults(schema, value, where=where)
        yield from _rule_faults(schema, value, old, where=where, path=())


def with_defaults(schema: Schema, value: Any) -> Any:
    """The value with what its schema says for what is absent; changed in place."""
    if isinstance(value, dict):
        for name, part in schema.get("properties", {}).items():
            if name not in value and "default" in part:
                value[name] = copy.deepcopy(part["default"])
            if name in value:
                with_defaults(part, value[name])
    elif isinstance(value, list):
        for item in value:
            with_defaults(schema.get("items", {}), item)
    return value


def closed(schema: Schema) -> Schema:
    """As JSON Schema, and refusing fields that it does not name."""
    found = {key: part for key, part in schema.items() if not key.startswith("x-kubernetes-")}
    if schema.get("x-kubernetes-int-or-string"):
        found["type"] = ["integer", "string"]
    if schema.get("nullable"):
        found["type"] = [found["type"], "null"]
    if "properties" in schema:
        found["properties"] = {name: closed(part) for name, part in schema["properties"].items()}
        if not schema.get(FREE) and "additionalProperties" not in schema:
            found["additionalProperties"] = False
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            found[key] = closed(schema[key])
    return found


def _schema_faults(schema: Schema, value: Any, *, where: str) -> Iterator[Fault]:
    top = closed(schema)
    top["properties"]["metadata"] = {"type": "object"}
    for error in Draft202012Validator(top).iter_errors(value):
        path = ".".join(str(part) for part in error.absolute_path)
        yield Fault(where=where, rule="kuberay", what=f"{path or 'object'}: {error.message}")


def _rule_faults(schema: Schema, value: Any, old: Any, *, where: str, path: tuple[str, ...]) -> Iterator[Fault]:
    for rule in schema.get(RULES, ()):
        is_of_change = "oldSelf" in rule["rule"]
        if is_of_change and old is None:
            continue
        context = {"self": value, "oldSelf": old} if is_of_change else {"self": value}
        if cel.evaluate(rule["rule"], context) is not True:
            yield Fault(where=where, rule="kuberay", what=f"{'.'.join(path)}: {' '.join(rule['message'].split())}")
    if isinstance(value, dict):
        for name, part in schema.get("properties", {}).items():
            if name in value:
                was = old.get(name) if isinstance(old, dict) else None
                yield from _rule_faults(part, value[name], was, where=where, path=(*path, name))
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from _rule_faults(schema.get("items", {}), item, None, where=where, path=(*path, str(number)))
