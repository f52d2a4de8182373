"""RowRequest: one row of a manifest as it was written, typed but not yet measured against any model."""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, StrictStr, ValidationError

MAX_ID_CHARS = 256


def _whole(value: object) -> int:
    """Whole numbers may come as floats (Parquet columns with gaps): 5.0 is 5, 5.5 is a fault."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"expected a whole number, not {_shown(value)}")
    if isinstance(value, float) and not value.is_integer():
        raise ValueError(f"{value} is not a whole number")
    if not -(2**63) <= value < 2**63:
        raise ValueError(f"{_shown(value)} is out of range")
    return int(value)


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"expected a number, not {_shown(value)}")
    if not -1e300 < value < 1e300:
        raise ValueError(f"{_shown(value)} is not a finite number")
    return float(value)


Whole = Annotated[int, BeforeValidator(_whole)]
Number = Annotated[float, BeforeValidator(_number)]


class RowRequest(BaseModel):
    """The manifest's columns. None means the model card's default."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    prompt: StrictStr
    id: StrictStr | None = None
    negative_prompt: StrictStr | None = None
    seed: Whole | None = None
    width: Whole | None = None
    height: Whole | None = None
    num_frames: Whole | None = None
    fps: Whole | None = None
    num_inference_steps: Whole | None = None
    guidance_scale: Number | None = None
    guidance_high: Number | None = None
    guidance_low: Number | None = None
    shift: Number | None = None
    solver: StrictStr | None = None
    image: StrictStr | None = None
    last_image: StrictStr | None = None
    video: StrictStr | None = None
    strength: Number | None = None
    control: StrictStr | None = None
    control_kind: StrictStr | None = None
    adapters: list[dict[str, Any]] | None = None
    model: StrictStr | None = None
    priority: Whole | None = None
    tags: dict[str, StrictStr] | None = None

    def identity(self) -> bytes:
        """A hash of the row as asked, without tags and priority: rows of equal identity are repetitions."""
        asked = self.model_dump(exclude={"tags", "priority"}, exclude_none=True)
        return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).digest()


FIELDS: tuple[str, ...] = tuple(RowRequest.model_fields)


def parse_row(values: Mapping[str, object]) -> tuple[RowRequest, list[str]]:
    """The row's request and its faults of type and key.

    With faults, the request holds what could be read, so that the rest is checked too and all faults are named at once.
    """
    present = {key: value for key, value in values.items() if value is not None}
    faults = [] if "prompt" in present else ["prompt: missing"]
    present.setdefault("prompt", "-")
    try:
        return RowRequest.model_validate(present), faults
    except ValidationError as error:
        details = error.errors(include_url=False)
    wrong = {str(detail["loc"][0]) for detail in details}
    faults += [_described(detail) for detail in details]
    rest = {key: value for key, value in present.items() if key not in wrong}
    return RowRequest.model_validate({"prompt": "-", **rest}), faults


def derive_seed(run_seed: int, identity: bytes, *, occurrence: int) -> int:
    """A 31-bit seed for the n-th row of one identity: a repeated row is a variation, a rerun is the same clip."""
    digest = hashlib.sha256(f"{run_seed}/{occurrence}/".encode() + identity).digest()
    return int.from_bytes(digest[:4], "big") & 0x7FFFFFFF


def unknown_key(key: str, known: Sequence[str] = FIELDS) -> str:
    """The fault of a key or column that is none, with the likeliest one meant."""
    close = difflib.get_close_matches(key, known, n=1)
    return f"{_shown(key)[1:-1]}: unknown" + (f" (did you mean {close[0]}?)" if close else "")


def _described(detail: Any) -> str:
    where = ".".join(str(part) for part in detail["loc"])
    match detail["type"]:
        case "extra_forbidden":
            return unknown_key(where)
        case "value_error":
            return f"{where}: {detail['ctx']['error']}"
        case "string_type":
            return f"{where}: expected text, not {_shown(detail['input'])}"
        case "dict_type":
            return f"{where}: expected a map, not {_shown(detail['input'])}"
        case "list_type":
            return f"{where}: expected a list, not {_shown(detail['input'])}"
        case _:
            return f"{where}: {detail['msg']}"


def _shown(value: object) -> str:
    """A value as a fault shows it: short, whatever a stranger wrote."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
