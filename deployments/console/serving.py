"""Serves the console's files, under the policy that they keep to."""

from __future__ import annotations

import hashlib
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import PurePosixPath

from fastapi import FastAPI, Request, Response

# No inline script or style, no data or blob addresses, nothing from anywhere but here, and no frame around it.
POLICY = (
    "default-src 'self'; base-uri 'none'; object-src 'none'; frame-ancestors 'none'; form-action 'self'; "
    "require-trusted-types-for 'script'"
)

HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    # The files carry no version in their names: a browser asks each time and mostly hears that nothing has changed.
    "Cache-Control": "no-cache",
}

_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".woff2": "font/woff2",
}


def add_console(app: FastAPI) -> None:
    """Give the app the page at `/` and its files below `/console/`."""
    assets = _assets()

    @app.api_route("/", methods=["GET", "HEAD"], include_in_schema=False)
    def page(request: Request) -> Response:
        return _answer(assets["index.html"], ".html", request)

    @app.api_route("/console/{path:path}", methods=["GET", "HEAD"], include_in_schema=False)
    def asset(path: str, request: Request) -> Response:
        content = assets.get(path)
        if content is None:
            return Response("not found\n", status_code=404, media_type="text/plain", headers=HEADERS)
        return _answer(content, PurePosixPath(path).suffix, request)


def _assets() -> dict[str, bytes]:
    """Every file there is to serve, by its path, read once: what is not in here cannot be asked for."""
    return {path: file.read_bytes() for path, file in _walk(files("deployments.console"), "")}


def _walk(folder: Traversable, prefix: str) -> list[tuple[str, Traversable]]:
    found: list[tuple[str, Traversable]] = []
    for entry in folder.iterdir():
        path = prefix + entry.name
        if entry.is_dir():
            found += _walk(entry, path + "/")
        elif PurePosixPath(path).suffix in _TYPES:
            found.append((path, entry))
    return found


def _answer(content: bytes, suffix: str, request: Request) -> Response:
    tag = f'"{hashlib.sha256(content).hexdigest()[:20]}"'
    headers = {**HEADERS, "ETag": tag}
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    return Response(content, headers=headers, media_type=_TYPES[suffix])
