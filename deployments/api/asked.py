"""What a request asks for: OpenAI's fields and ours, read from plain values into the manifest's own request.

Validation is the manifest's (`farm.request`, `farm.normalise`); here are only the fields that manifests don't have, and
the names under which the client knows the others. All faults are gathered, none ends the reading.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from deployments.api.bodies import Body
from deployments.api.fields import (
    FIELDS,
    MAX_TAG_CHARS,
    MAX_TAGS,
    MAX_TTL_S,
    MIN_TTL_S,
    NUMBERS,
    PICTURES,
    STRUCTURES,
    TEXTS,
    UPLOAD,
    WHOLES,
)
from deployments.api.forms import Part
from deployments.errors import Fault
from farm.models import Card
from farm.normalise import FIELD_NEEDS, faults_of
from farm.queue.job import MAX_PRIORITY, MIN_PRIORITY
from farm.request import RowRequest, parse_row, unknown_key

_SIZE = re.compile(r"([0-9]{1,5})x([0-9]{1,5})")
_WHOLE = re.compile(r"[+-]?[0-9]{1,20}")
# What `faults_of` puts in brackets at the end of a fault is what to do about it.
_ADVICE = re.compile(r".*\((?P<advice>[^()]*(?:\([^()]*\)[^()]*)*)\)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request as far as it could be read, with the faults found so far.

    Args:
        row: what manifests know; `image` is an address, or a stand-in where bytes were uploaded.
        upload: the picture's bytes, where it was uploaded.
        picture_field: the field that named the picture.
        seconds: the length that was asked for, instead of a number of frames.
        size: as asked, instead of width and height.
    """

    row: RowRequest
    faults: tuple[Fault, ...] = ()
    upload: bytes | None = None
    picture_field: str | None = None
    seconds: float | None = None
    size: str | None = None
    ttl_s: int | None = None
    is_pinned: bool = False

    @property
    def echo(self) -> dict[str, Any]:
        """The request's own words where the clip's spec has others."""
        words = {"seconds": self.seconds, "size": self.size}
        return {name: value for name, value in words.items() if value is not None}

    def measured(self, card: Card) -> tuple[RowRequest, list[Fault]]:
        """The row with its frames counted, and everything for which this model cannot make it."""
        row = self.row
        if self.seconds is not None:
            fps = card.defaults.fps if row.fps is None else row.fps
            row = row.model_copy(update={"num_frames": frames_of(self.seconds, fps=fps, step=card.frame_step)})
        unsupported = {
            name for name, mode in FIELD_NEEDS.items() if getattr(row, name) is not None and mode not in card.modes
        }
        return row, [self._renamed(text, unsupported) for text in faults_of(row, card)]

    def _renamed(self, text: str, unsupported: set[str]) -> Fault:
        """A fault of the manifest's in the client's words."""
        fault = fault_of(text)
        names = {"image": self.picture_field or "image"}
        if self.size is not None:
            names |= dict.fromkeys(("width", "height", "width, height"), "size")
        if self.seconds is not None:
            names["num_frames"] = "seconds"
        code = "unsupported_by_model" if fault.field in unsupported else fault.code
        field = names.get(fault.field or "", fault.field)
        return Fault(message=fault.message, field=_first(field), code=code, advice=fault.advice)


def read_asked(body: Body, *, fields: Collection[str] = FIELDS) -> Asked:
    """Everything that a body asks for, whatever is wrong with it. `fields` are those that it may have."""
    return _Reading(body, fields).asked()


def frames_of(seconds: float, *, fps: int, step: int) -> int:
    """The number of frames that is nearest to so many seconds; the first frame is one more."""
    return step * math.floor(seconds * fps / step + 0.5) + 1


def fault_of(text: str, *, code: str = "invalid_value") -> Fault:
    """A fault of the manifest's, "field: what is wrong (what would be right)", in its parts."""
    field, colon, message = text.partition(": ")
    if not colon:
        return Fault(message=text, code=code)
    found = _ADVICE.fullmatch(message)
    return Fault(message=message, field=field, code=code, advice=found["advice"] if found else None)


class _Reading:
    """Takes the fields of one body apart."""

    def __init__(self, body: Body, fields: Collection[str]) -> None:
        self._values = dict(body.values)
        self._fields = tuple(fields)
        self._is_form = body.is_form
        self._faults: list[Fault] = []

    def asked(self) -> Asked:
        self._refuse_unknown()
        values = {name: value for name, value in self._typed() if value is not None}
        picture_field, picture = self._picture(values)
        seconds, size = self._seconds(values), self._size(values)
        ttl_s, is_pinned = self._ttl(values), self._flag(values, "is_pinned")
        self._check_extras(values)
        upload = picture if isinstance(picture, bytes) else None
        image = UPLOAD if upload is not None else picture
        row, faults = parse_row({**values, "image": image})
        self._faults += [self._row_fault(text) for text in faults]
        return Asked(
            row=row,
            faults=tuple(self._faults),
            upload=upload,
            picture_field=picture_field,
            seconds=seconds,
            size=size,
            ttl_s=ttl_s,
            is_pinned=is_pinned,
        )

    def _fault(self, field: str, message: str, *, code: str = "invalid_value", advice: str | None = None) -> None:
        self._faults.append(Fault(message=message, field=field, code=code, advice=advice))

    def _row_fault(self, text: str) -> Fault:
        return fault_of(text, code="missing_field" if text == "prompt: missing" else "invalid_value")

    def _refuse_unknown(self) -> None:
        for name in [name for name in self._values if name not in self._fields]:
            del self._values[name]
            shown = name.encode(errors="replace").decode()
            fault = fault_of(unknown_key(shown[:60], self._fields))
            self._fault(shown[:60], fault.message, code="unknown_field", advice=fault.advice)

    def _typed(self) -> Iterator[tuple[str, Any]]:
        """Each field that can be read at all, a form's text as what it stands for."""
        for name, value in self._values.items():
            if _has_bad_text(value):
                self._fault(name, "holds half characters or control characters", advice="send plain Unicode text")
            elif isinstance(value, Part) and name not in PICTURES:
                self._fault(name, "a file was sent, expected a value")
            else:
                yield name, self._from_text(name, value) if self._is_form else value

    def _from_text(self, name: str, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        if value == "" and name not in TEXTS:
            return None  # how forms write that a field was left alone
        if name in WHOLES or name in NUMBERS:
            return _number_in(value)
        if name in STRUCTURES and value[:1] in "[{":
            try:
                return json.loads(value)
            except (ValueError, RecursionError):
                return value
        return value

    def _picture(self, values: dict[str, Any]) -> tuple[str | None, bytes | str | None]:
        """The field that names a first frame, and its bytes or address."""
        given = {name: values.pop(name) for name in PICTURES if name in values}
        if len(given) > 1:
            self._fault("image", "stands for the same as input_reference, so give one of them")
        if not given:
            return None, None
        name, value = next(iter(given.items()))
        if isinstance(value, Part):
            return name, value.data
        if isinstance(value, Mapping) and name == "input_reference":
            value = self._reference(value)
        if value is not None and not isinstance(value, str):
            self._fault(name, "expected a file, or an address (https:// or data:) as text")
            return None, None
        return name, value

    def _reference(self, value: Mapping[str, Any]) -> Any:
        if "file_id" in value:
            self._fault(
                "input_reference",
                "files are not kept here, so there is no file_id to refer to",
                code="unsupported",
                advice="send the file itself, or image_url",
            )
            return None
        if set(value) != {"image_url"}:
            self._fault("input_reference", "expected {image_url: address}")
            return None
        return value["image_url"]

    def _seconds(self, values: dict[str, Any]) -> float | None:
        """OpenAI's client sends text."""
        value = values.pop("seconds", None)
        if isinstance(value, str):
            value = _number_in(value)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e6:
            self._fault("seconds", f"expected a number of seconds above 0, not {_shown(value)}")
            return None
        if "num_frames" in values:
            self._fault("seconds", "stands for num_frames, so give one of them")
        return float(value)

    def _size(self, values: dict[str, Any]) -> str | None:
        value = values.pop("size", None)
        if value is None:
            return None
        found = _SIZE.fullmatch(value) if isinstance(value, str) else None
        if found is None:
            self._fault("size", f'expected width and height like "64x64", not {_shown(value)}')
            return None
        if "width" in values or "height" in values:
            self._fault("size", "stands for width and height, so give it or them")
        values["width"], values["height"] = int(found[1]), int(found[2])
        return str(value)

    def _ttl(self, values: dict[str, Any]) -> int | None:
        value = values.pop("ttl", None)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int) or not MIN_TTL_S <= value <= MAX_TTL_S:
            self._fault("ttl", f"expected whole seconds from {MIN_TTL_S} to {MAX_TTL_S}, not {_shown(value)}")
            return None
        return value

    def _flag(self, values: dict[str, Any], name: str) -> bool:
        value = values.pop(name, None)
        if self._is_form and isinstance(value, str):
            value = {"true": True, "false": False}.get(value.lower(), value)
        if value is not None and not isinstance(value, bool):
            self._fault(name, f"expected true or false, not {_shown(value)}")
        return value is True

    def _check_extras(self, values: dict[str, Any]) -> None:
        """Bounds that manifests don't have."""
        priority = values.get("priority")
        if isinstance(priority, int) and not MIN_PRIORITY <= priority <= MAX_PRIORITY:
            self._fault("priority", f"{priority} is not between {MIN_PRIORITY} and {MAX_PRIORITY}")
            del values["priority"]
        tags = values.get("tags")
        if isinstance(tags, Mapping):
            lengths = [len(text) for pair in tags.items() for text in pair if isinstance(text, str)]
            if len(tags) > MAX_TAGS or any(length > MAX_TAG_CHARS for length in lengths):
                self._fault("tags", f"at most {MAX_TAGS} tags, names and values of at most {MAX_TAG_CHARS} characters")


def _number_in(text: str) -> Any:
    """The number that a form's text is, or the text, to be complained of."""
    if _WHOLE.fullmatch(text):
        return int(text)
    try:
        number = float(text) if len(text) <= 40 and "_" not in text else math.nan
    except ValueError:
        return text
    return number if math.isfinite(number) else text


def _has_bad_text(value: Any) -> bool:
    """Half surrogate pairs can't be written as UTF-8; control characters but line ends and tabs mean nothing here."""
    if isinstance(value, str):
        return any("\ud800" <= char <= "\udfff" or (char < " " and char not in "\t\n\r") for char in value)
    if isinstance(value, Mapping):
        return any(_has_bad_text(key) or _has_bad_text(inner) for key, inner in value.items())
    return isinstance(value, list) and any(map(_has_bad_text, value))


def _first(field: str | None) -> str | None:
    return field.partition(",")[0] if field else field


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
