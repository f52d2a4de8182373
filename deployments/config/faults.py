"""Faults of configurations in words, with the path to each and the nearest key there is."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError


def described(error: ValidationError, root: type[BaseModel], *, where: str = "") -> list[str]:
    """One sentence for each fault. `where` is the path to the root's own values."""
    details = error.errors(include_url=False)
    # Items that are at fault are not counted, and then there are too few.
    inner = {detail["loc"][:depth] for detail in details for depth in range(len(detail["loc"]))}
    return [_sentence(one, root, where) for one in details if one["type"] != "too_short" or one["loc"] not in inner]


def unknown_key(key: str, known: Iterable[str], *, where: str = "") -> str:
    """The sentence on a key that does not exist."""
    names = sorted(known)
    close = difflib.get_close_matches(key, names, n=1, cutoff=0.5)
    hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(names)}"
    return f"{join(where, key)}: unknown ({hint})"


def unknown_keys(model: type[BaseModel], values: object, *, where: str = "") -> Iterator[str]:
    """A sentence for each key, at any depth, that the model would pass over in silence."""
    if not isinstance(values, Mapping):
        return
    fields = _fields(model)
    for key, value in values.items():
        path = join(where, str(key))
        if key not in fields:
            yield unknown_key(str(key), fields, where=where)
            continue
        for inner in _models_in(fields[key]):
            if isinstance(value, Sequence) and not isinstance(value, str):
                for number, item in enumerate(value):
                    yield from unknown_keys(inner, item, where=f"{path}[{number}]")
            else:
                yield from unknown_keys(inner, value, where=path)


def join(where: str, key: str) -> str:
    """The path to a key below a path."""
    return f"{where}.{key}" if where else key


def _sentence(detail: Any, root: type[BaseModel], where: str) -> str:
    *parents, last = detail["loc"] or ("",)
    path = where
    for part in parents:
        path = f"{path}[{part}]" if isinstance(part, int) else join(path, str(part))
    if detail["type"] == "extra_forbidden":
        return unknown_key(str(last), _fields(_model_at(root, parents)), where=path)
    place = f"{path}[{last}]" if isinstance(last, int) else join(path, str(last)) if last != "" else path
    said = str(detail["ctx"]["error"]) if detail["type"] == "value_error" else detail["msg"]
    return f"{place or 'the configuration'}: {said}"


def _model_at(root: type[BaseModel], path: Sequence[int | str]) -> type[BaseModel]:
    """The model that stands at that path of fields and indices."""
    found = root
    for part in path:
        if isinstance(part, str) and part in _fields(found):
            found = next(_models_in(_fields(found)[part]), found)
    return found


def _fields(model: type[BaseModel]) -> dict[str, Any]:
    return {field.alias or name: field.annotation for name, field in model.model_fields.items()}


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    """The models that values of this type are or hold; of a union of several none, as any may be meant."""
    if isinstance(annotation, type) and not get_origin(annotation) and issubclass(annotation, BaseModel):
        yield annotation
        return
    if get_origin(annotation) is dict:
        return  # its keys are the user's own
    found = [model for part in get_args(annotation) for model in _models_in(part)]
    if len(found) == 1:
        yield found[0]
