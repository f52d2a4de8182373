"""What the OpenAPI document says of operations beside what their code says: bodies, errors, examples, security."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel

from deployments.api import schema
from deployments.api.answers import ErrorAnswer

VERSION = "1"

ABOUT = (
    "Videos from text and images, by Wan models. The surface is that of OpenAI's videos API with more fields; "
    "every error has one shape. Keys come as `Authorization: Bearer KEY`; a browser's session as a cookie."
)

_ERROR_EXAMPLE = {
    "error": {
        "code": "invalid_value",
        "message": "size: 65 is not a positive multiple of 16 (nearest: 64 or 80)",
        "type": "invalid_request_error",
        "field": "size",
        "param": "size",
        "advice": "nearest: 64 or 80",
        "errors": [
            {
                "field": "size",
                "code": "invalid_value",
                "message": "65 is not a positive multiple of 16 (nearest: 64 or 80)",
                "advice": "nearest: 64 or 80",
            }
        ],
    }
}

_ERROR: dict[str, Any] = {
    "model": ErrorAnswer,
    "description": "Refused: what is wrong, and what to do.",
    "content": {"application/json": {"example": _ERROR_EXAMPLE}},
}

# Of every operation. FastAPI would say something else of 422 where nothing is said.
ERRORS: dict[int | str, dict[str, Any]] = {
    422: _ERROR,
    "4XX": _ERROR,
    "5XX": {"model": ErrorAnswer, "description": "The service's fault, or its storage's."},
}

_BODIES: tuple[type[BaseModel], ...] = (
    schema.VideoCreate,
    schema.VideoRemix,
    schema.VideoExtend,
    schema.VideoExtension,
    schema.KeyCreate,
    schema.SessionCreate,
)


def body(model: type[BaseModel], example: Mapping[str, Any], *, is_form_too: bool = False) -> dict[str, Any]:
    """`openapi_extra` of an operation that reads its body itself."""
    reference = {"$ref": f"#/components/schemas/{model.__name__}"}
    content: dict[str, Any] = {"application/json": {"schema": reference, "example": dict(example)}}
    if is_form_too:
        content["multipart/form-data"] = {"schema": _form_of(model)}
    return {"requestBody": {"required": True, "content": content}}


# Of operations that anybody may call, and of the one that takes signed addresses too.
PUBLIC: dict[str, Any] = {"security": []}
KEY_OR_SIGNED: dict[str, Any] = {"security": [{"key": []}, {"session": []}, {}]}


def links(*operations: str) -> dict[str, Any]:
    """That these operations take the id of the video that is answered."""
    parameters = {"video_id": "$response.body#/id"}
    return {"links": {name: {"operationId": name, "parameters": parameters} for name in operations}}


def ok(description: str, example: Mapping[str, Any]) -> dict[str, Any]:
    """A documented answer."""
    return {"description": description, "content": {"application/json": {"example": dict(example)}}}


def add_document(app: FastAPI) -> None:
    """Have /openapi.json say all of it."""

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _document(app)
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign] # FastAPI's own way of extending it


def _document(app: FastAPI) -> dict[str, Any]:
    found = get_openapi(title=app.title, version=VERSION, description=ABOUT, routes=app.routes)
    schemas = found["components"]["schemas"]
    for model in _BODIES:
        own = schema.plain(model)
        schemas.update(own.pop("$defs", {}))
        schemas[model.__name__] = own
    found["components"]["securitySchemes"] = {
        "key": {"type": "http", "scheme": "bearer"},
        "session": {"type": "apiKey", "in": "cookie", "name": "wanfarm_session"},
    }
    found["security"] = [{"key": []}, {"session": []}]
    return found


def _form_of(model: type[BaseModel]) -> dict[str, Any]:
    """The model as a form: pictures may be files; the rest is text that is read as what the field is."""
    properties = {name: dict(value) for name, value in schema.plain(model)["properties"].items()}
    for name in ("input_reference", "image"):
        properties[name] = {"type": "string", "format": "binary", "description": "The picture, or its address."}
    return {"type": "object", "additionalProperties": False, "required": ["prompt"], "properties": properties}
