"""Multipart forms as values: brackets make maps and lists, as the OpenAI client writes them.

    tags[scene]=7            {"tags": {"scene": "7"}}
    adapters[][name]=ink     {"adapters": [{"name": "ink"}]}      its n-th `name` belongs to the n-th element
    input_reference[image_url]=https://...

All leaves are text here; `deployments.api.asked` reads them as the fields that they are.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header

from deployments.errors import UnreadableError

MAX_PARTS = 200
MAX_NAME_BYTES = 200
MAX_HEADER_BYTES = 4096

_NAME = re.compile(r"(?P<first>[^\[\]]+)(?P<rest>(?:\[[^\[\]]*\]){0,3})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One part of a form. `filename` is what the client says, None for plain fields; no path is made of it."""

    name: str
    data: bytes
    filename: str | None = None

    @property
    def text(self) -> str:
        """As text. UnreadableError where it is not UTF-8."""
        try:
            return self.data.decode()
        except UnicodeDecodeError as error:
            raise UnreadableError(f"the field {self.name} is not UTF-8 text", field=self.name) from error


def parse_multipart(body: bytes, content_type: str) -> list[Part]:
    """The parts of a form, in order. UnreadableError where it is none."""
    _, options = parse_options_header(content_type)
    boundary = options.get(b"boundary")
    if not boundary:
        raise UnreadableError("the multipart form's Content-Type names no boundary")
    reader = _Reader()
    try:
        parser = MultipartParser(boundary, reader.callbacks(), max_size=len(body) + 1)
        parser.write(body)
        parser.finalize()
    except (FormParserError, ValueError) as error:
        raise UnreadableError("the multipart form is broken") from error
    if not reader.is_ended:
        raise UnreadableError("the multipart form breaks off")
    return reader.parts


def nested(parts: Sequence[Part]) -> dict[str, Any]:
    """The form's fields as one map; files stay `Part`s, everything else is text."""
    values: dict[str, Any] = {}
    counts: dict[str, int] = {}
    for part in parts:
        found = _NAME.fullmatch(part.name)
        if found is None:
            raise UnreadableError(f"the field name {part.name[:60]!r} is not understood", field=part.name[:60])
        keys = re.findall(r"\[([^\[\]]*)\]", found["rest"])
        occurrence = counts[part.name] = counts.get(part.name, -1) + 1
        leaf = part if part.filename is not None else part.text
        _put(values, [found["first"], *keys], leaf, occurrence=occurrence, name=part.name)
    return values


def _put(values: dict[str, Any], keys: list[str], leaf: object, *, occurrence: int, name: str) -> None:
    """Put a leaf where its keys lead; an empty key is the next element of a list."""
    if "" in keys:
        at = keys.index("")
        elements = _at(values, keys[:at], list, name=name)
        rest = keys[at + 1 :]
        if not rest:
            elements.append(leaf)
            return
        if occurrence > len(elements):
            raise UnreadableError(f"the field {name} is not given for each element; send a JSON list", field=keys[0])
        if occurrence == len(elements):
            elements.append({})
        _put(elements[occurrence], rest, leaf, occurrence=0, name=name)
        return
    holder = _at(values, keys[:-1], dict, name=name)
    if keys[-1] in holder:
        raise UnreadableError(f"the field {name} is given twice", field=keys[0])
    holder[keys[-1]] = leaf


def _at(values: Any, keys: list[str], kind: type, *, name: str) -> Any:
    """The map or list at a path, made where nothing is yet."""
    for depth, key in enumerate(keys):
        if not isinstance(values, dict):
            break
        is_last = depth == len(keys) - 1
        values = values.setdefault(key, kind() if is_last else {})
    if not isinstance(values, kind):
        raise UnreadableError(f"the field {name} is given in two ways", field=keys[0] if keys else name)
    return values


class _Reader:
    """Gathers what the parser calls out; each bound is checked as the bytes come."""

    def __init__(self) -> None:
        self.parts: list[Part] = []
        self.is_ended = False
        self._headers: dict[bytes, bytes] = {}
        self._header_name = bytearray()
        self._header_value = bytearray()
        self._data = bytearray()

    def callbacks(self) -> Any:
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._field,
            "on_header_value": self._value,
            "on_header_end": self._header,
            "on_part_data": self._more,
            "on_part_end": self._end,
            "on_end": self._all,
        }

    def _begin(self) -> None:
        if len(self.parts) >= MAX_PARTS:
            raise UnreadableError(f"the form has more than {MAX_PARTS} fields")
        self._headers, self._data = {}, bytearray()

    def _field(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]
        self._bound_header()

    def _value(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]
        self._bound_header()

    def _bound_header(self) -> None:
        if len(self._header_name) + len(self._header_value) > MAX_HEADER_BYTES:
            raise UnreadableError("a part of the form has too long a header")

    def _header(self) -> None:
        self._headers[bytes(self._header_name).lower()] = bytes(self._header_value)
        self._header_name, self._header_value = bytearray(), bytearray()

    def _more(self, data: bytes, start: int, end: int) -> None:
        self._data += data[start:end]

    def _end(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition"))
        name = options.get(b"name")
        if not name or len(name) > MAX_NAME_BYTES:
            raise UnreadableError(f"a part of the form has no name of 1 to {MAX_NAME_BYTES} bytes")
        filename = options.get(b"filename")
        self.parts.append(
            Part(
                name=Part(name="?", data=name).text,
                data=bytes(self._data),
                filename=None if filename is None else filename.decode(errors="replace"),
            )
        )
        self._data = bytearray()

    def _all(self) -> None:
        self.is_ended = True
