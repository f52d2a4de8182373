"""What every manifest format is read into, and the types its columns must have."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from farm.errors import ManifestError
from farm.request import FIELDS, unknown_key


@dataclass(slots=True, kw_only=True)
class RawRow:
    """One row as written. `row` counts from 0 over all files; `values` is None where no field can be told."""

    row: int
    values: dict[str, object] | None
    kept: dict[str, object] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)


class Kind(Enum):
    """What a column holds, in the words of an error message."""

    TEXT = "text"
    WHOLE = "whole numbers"
    NUMBER = "numbers"
    MAP = "maps of text"
    LIST = "lists of {name or URI, scale}"


_WHOLE = {"seed", "width", "height", "num_frames", "fps", "num_inference_steps", "priority"}
_NUMBER = {"guidance_scale", "guidance_high", "guidance_low", "shift", "strength"}
_SPECIAL = {"tags": Kind.MAP, "adapters": Kind.LIST}


def kind_of(field_name: str) -> Kind:
    """What the column of that name holds."""
    if field_name in _WHOLE:
        return Kind.WHOLE
    return Kind.NUMBER if field_name in _NUMBER else _SPECIAL.get(field_name, Kind.TEXT)


def column_names_faults(names: list[str], *, keep_columns: bool) -> list[str]:
    """Faults of the columns' names: required ones that are missing, unknown ones, repeated ones."""
    faults = [] if "prompt" in names else ["prompt: missing"]
    faults += [f"{name}: twice" for name in dict.fromkeys(names) if names.count(name) > 1]
    if not keep_columns:
        faults += [unknown_key(name) for name in dict.fromkeys(names) if name not in FIELDS]
    return faults


def refuse_columns(faults: list[str], *, uri: str) -> None:
    """Raises ManifestError naming all faults of the columns, if there are any."""
    if not faults:
        return
    hint = " (--keep-columns carries unknown columns to the results)" if any("unknown" in f for f in faults) else ""
    raise ManifestError(f"the columns of {uri} cannot be used: {'; '.join(faults)}{hint}")
