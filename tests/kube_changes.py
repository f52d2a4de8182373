"""Objects with something changed, named by a path: "RayJob.spec.rayClusterSpec.workerGroupSpecs.gangs.replicas"."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

# In place of a value: the key, or the whole object, goes.
GONE = object()
_NAMES = ("groupName", "name")


def changed(objects: Sequence[dict[str, Any]], changes: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A copy. A value that can be called is given what is there. Items of lists are found by name or number.

    The first part is a kind, or "kind/name" where there are several.
    """
    found = copy.deepcopy(list(objects))
    for path, value in changes.items():
        kind, *parts = path.split(".")
        kind, _, name = kind.partition("/")
        (target,) = [entry for entry in found if entry["kind"] == kind and name in ("", entry["metadata"]["name"])]
        if not parts:
            found.remove(target)
            continue
        _set(target, parts, value)
    return found


def _set(node: Any, parts: Sequence[str], value: Any) -> None:
    *way, last = [part.replace("~", ".") for part in parts]
    for part in way:
        node = node.setdefault(part, {}) if isinstance(node, dict) else node[_index(node, part)]
    key = last if isinstance(node, dict) else _index(node, last)
    if value is GONE:
        del node[key]
    else:
        node[key] = value(node.get(key) if isinstance(node, dict) else node[key]) if callable(value) else value


def _index(items: Sequence[Any], part: str) -> int:
    if part.isdigit():
        return int(part)
    (found,) = [number for number, item in enumerate(items) if part in [item.get(name) for name in _NAMES]]
    return found


def replacing(old: str, new: str) -> Callable[[str], str]:
    """The text with one thing in another's place, which must be there."""

    def apply(text: str) -> str:
        assert old in text, text
        return text.replace(old, new)

    return apply
