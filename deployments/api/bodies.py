"""Request bodies: read within bounds, as JSON or as a form, into plain values.

A body that is too long is cut off as soon as that shows: by what it announces, else by counting what comes.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request

from deployments.api.forms import Part, nested, parse_multipart
from deployments.errors import Fault, InvalidError, TooLargeError, UnreadableError, UnsupportedTypeError

MAX_DEPTH = 8
MAX_VALUES = 10_000
# Longer bodies are parsed on a thread: other requests need not wait for that.
LOOP_BYTES = 128 << 10
# Of bodies that hold no picture. FastAPI would read one of any length, before it asks who sends it.
SMALL_BYTES = 64 << 10

Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """What a request says. In a form all leaves are text, or `Part`s where a file was sent."""

    values: dict[str, Any]
    is_form: bool


async def read_body(request: Request, *, max_bytes: int, takes_form: bool = True) -> Body:
    """The body of a request as values. Raises UnreadableError, TooLargeError or UnsupportedTypeError."""
    content_type = request.headers.get("content-type", "")
    kind = content_type.partition(";")[0].strip().lower()
    if kind == "application/json" or (kind == "multipart/form-data" and takes_form):
        data = await read_bytes(request, max_bytes=max_bytes)
        if len(data) > LOOP_BYTES:
            return await run_in_threadpool(_parsed, data, content_type, is_form=kind != "application/json")
        return _parsed(data, content_type, is_form=kind != "application/json")
    taken = "application/json or multipart/form-data" if takes_form else "application/json"
    raise UnsupportedTypeError(f"a body of type {kind[:60] or 'unknown'} is not taken", advice=f"send {taken}")


async def read_model(request: Request, model: type[Model]) -> Model:
    """A small JSON body as a model. Raises as `read_body`, and InvalidError with all faults."""
    body = await read_body(request, max_bytes=SMALL_BYTES, takes_form=False)
    try:
        return model.model_validate(body.values)
    except ValidationError as error:
        details = error.errors(include_url=False, include_input=False)
        raise InvalidError([Fault(message=one["msg"], field=_path_of(one["loc"])) for one in details]) from None


async def read_bytes(request: Request, *, max_bytes: int) -> bytes:
    """The body's bytes, no more than `max_bytes`."""
    announced = request.headers.get("content-length", "")
    if announced.isdigit() and int(announced[:20]) > max_bytes:
        raise _too_large(max_bytes)
    data = bytearray()
    try:
        async for chunk in request.stream():
            data += chunk
            if len(data) > max_bytes:
                raise _too_large(max_bytes)
    except ClientDisconnect as error:
        raise UnreadableError("the body broke off") from error
    return bytes(data)


def fingerprint(body: Body, *about: str) -> bytes:
    """All that a request asks for, in one form for the same request; `about` is what its address says."""
    return json.dumps([about, body.values], sort_keys=True, default=_hash_of_part).encode(errors="replace")


def parse_json(data: bytes) -> dict[str, Any]:
    """One JSON object of bounded depth and size, without keys given twice or infinities."""
    # Before anything is built of it: 24 MB of `{},` are half a GB of dictionaries.
    if data.count(b",") + data.count(b"{") + data.count(b"[") > MAX_VALUES:
        raise UnreadableError(f"the body holds more than {MAX_VALUES} values", code="too_many_values")
    try:
        value = json.loads(data.decode(), parse_constant=_no_constant, object_pairs_hook=_each_once)
    except RecursionError as error:
        raise _too_deep() from error
    except ValueError as error:  # UnicodeDecodeError and JSONDecodeError are ones; so are numbers of 5,000 digits
        raise UnreadableError("the body is not valid JSON in UTF-8", code="invalid_json") from error
    if not isinstance(value, dict):
        raise UnreadableError("the body must be a JSON object", code="invalid_json")
    _check_depth(value)
    return value


def _parsed(data: bytes, content_type: str, *, is_form: bool) -> Body:
    if is_form:
        return Body(values=nested(parse_multipart(data, content_type)), is_form=True)
    return Body(values=parse_json(data), is_form=False)


def _path_of(place: tuple[int | str, ...]) -> str | None:
    path = ".".join(str(part) for part in place)
    return path.encode(errors="replace").decode()[:60] or None


def _hash_of_part(part: object) -> str:
    return hashlib.sha256(part.data).hexdigest() if isinstance(part, Part) else ""


def _check_depth(value: dict[str, Any]) -> None:
    """Walks without recursion: depth is what is being checked."""
    pending: list[tuple[Any, int]] = [(value, 1)]
    while pending:
        each, depth = pending.pop()
        if depth > MAX_DEPTH:
            raise _too_deep()
        if isinstance(each, dict):
            pending += [(inner, depth + 1) for inner in each.values()]
        elif isinstance(each, list):
            pending += [(inner, depth + 1) for inner in each]


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        raise UnreadableError("the body gives a key twice", code="invalid_json")
    return values


def _no_constant(name: str) -> NoReturn:
    raise UnreadableError(f"the body holds {name}, which is no JSON", code="invalid_json")


def _too_deep() -> UnreadableError:
    return UnreadableError(f"the body is nested deeper than {MAX_DEPTH} levels", code="too_deep")


def _too_large(max_bytes: int) -> TooLargeError:
    return TooLargeError(
        f"the body has more than {max_bytes} bytes",
        code="body_too_large",
        advice="send a smaller picture, or its address",
    )
