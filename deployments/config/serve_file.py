"""A Serve configuration file as a whole: Serve passes over keys that it does not know, and so over every typo.

Here each is named with the nearest right one, at any depth, and what is for this application is checked as well.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import yaml
from pydantic import ValidationError
from ray.serve.schema import ServeDeploySchema

from deployments.autoscale import POLICY_PATH
from deployments.config.app import AppConfig
from deployments.config.faults import described, unknown_key, unknown_keys
from deployments.names import APPLICATION, DISPATCHER, IMPORT_PATH, deployment_names
from farm.errors import UsageError

# What the arguments decide; an override would be undone by the policy, or undo what the arguments promise.
_DECIDED = ("num_replicas", "autoscaling_config", "max_ongoing_requests", "placement_group_bundles")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeFile:
    """A file without faults: what Serve is told, and the configuration of each application of ours by name."""

    schema: ServeDeploySchema
    applications: Mapping[str, AppConfig]


def parse_serve_file(text: str, *, source: str) -> ServeFile:
    """From YAML. UsageError naming every fault; `source` is what the file is called."""
    try:
        values, node = yaml.safe_load(text), yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise UsageError(f"{source} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(values, Mapping) or not values:
        raise UsageError(f"{source} holds no Serve configuration (applications: ...)")
    faults = [*_keys_twice(node), *unknown_keys(ServeDeploySchema, values)]
    schema = None
    try:
        schema = ServeDeploySchema.model_validate(values)
    except ValidationError as error:
        faults += described(error, ServeDeploySchema)
    applications: dict[str, AppConfig] = {}
    entries = values.get("applications")
    for number, entry in enumerate(entries if isinstance(entries, list) else ()):
        if isinstance(entry, Mapping) and entry.get("import_path") == IMPORT_PATH:
            faults += _faults_of(entry, applications, where=f"applications[{number}]")
    if not faults and not applications:
        faults.append(f"no application's import_path is {IMPORT_PATH}")
    if faults or schema is None:
        raise UsageError(f"{source}: {'; '.join(dict.fromkeys(faults))}")
    return ServeFile(schema=schema, applications=applications)


def serve_values(config: AppConfig, *, host: str, port: int) -> dict[str, Any]:
    """The same as plain data, for an application of that configuration alone."""
    return {
        "proxy_location": "HeadOnly",
        "http_options": {"host": host, "port": port},
        "logging_config": {"log_level": "WARNING"},
        "applications": [
            {
                "name": APPLICATION,
                "route_prefix": "/",
                "import_path": IMPORT_PATH,
                "autoscaling_policy": {"policy_function": POLICY_PATH},
                "args": config.model_dump(mode="json", exclude_defaults=True),
            }
        ],
    }


def _faults_of(entry: Mapping[str, Any], applications: dict[str, AppConfig], *, where: str) -> Iterator[str]:
    try:
        config = AppConfig.parse(entry.get("args") or {}, where=f"{where}.args")
    except UsageError as error:
        yield str(error)
        return
    applications[str(entry.get("name", "default"))] = config
    policy = entry.get("autoscaling_policy")
    if not isinstance(policy, Mapping) or policy.get("policy_function") != POLICY_PATH:
        yield f"{where}.autoscaling_policy: policy_function must be {POLICY_PATH}: without it no gang ever starts"
    names = deployment_names([model.model for model in config.models])
    overrides = entry.get("deployments")
    for number, override in enumerate(overrides if isinstance(overrides, list) else ()):
        if isinstance(override, Mapping):
            yield from _override_faults(override, names, where=f"{where}.deployments[{number}]")


def _override_faults(override: Mapping[str, Any], names: list[str], *, where: str) -> Iterator[str]:
    name = str(override.get("name"))
    if name not in names:
        yield f"{where}.name: {unknown_key(name, names)}"
        return
    if name == DISPATCHER or name.startswith("renderer-"):
        for key in _DECIDED:
            if key in override:
                yield f"{where}.{key}: not for {name}: the application's arguments decide it"


def _keys_twice(node: Any) -> Iterator[str]:
    """Of keys that stand twice YAML takes the last, in silence."""
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from _keys_twice(item)
    elif isinstance(node, yaml.MappingNode):
        keys = [key.value for key, _ in node.value]
        yield from (f"{key}: stands twice" for key in sorted({key for key in keys if keys.count(key) > 1}))
        for _, value in node.value:
            yield from _keys_twice(value)
