"""Where a run's files lie: a folder or an S3 bucket behind one interface, and a dict for tests."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from farm.errors import OutputError
from farm.storage.base import Entry, Storage
from farm.storage.local import LocalStorage
from farm.storage.memory import MemoryStorage

__all__ = ["Entry", "LocalStorage", "MemoryStorage", "Storage", "open_storage"]


def open_storage(uri: str, *, options: Mapping[str, Any] | None = None) -> Storage:
    """The storage at an address: a local folder (a path or `file://`), `s3://bucket/prefix`, or `memory://name`.

    Connects to nothing yet. `options` are those of fsspec's S3 file system; without them the standard AWS
    environment (AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL, AWS_PROFILE ...) counts.

    Raises:
        OutputError: an address of no kind known here, or one that carries credentials.
    """
    if "://" not in uri:
        return LocalStorage(uri)
    parts = urlsplit(uri)
    if "@" in parts.netloc:
        raise OutputError("credentials don't belong in an address: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
    if parts.scheme == "file":
        return LocalStorage(Path(unquote(parts.path)))
    if parts.scheme == "memory":
        return MemoryStorage(parts.netloc)
    if parts.scheme != "s3" or not parts.netloc:
        raise OutputError(f"no storage is known for {uri!r}: give a folder or s3://bucket/prefix")
    # s3fs costs half a second to import, which a run on a local folder need not pay.
    from farm.storage.s3 import S3Storage

    return S3Storage(parts.netloc, parts.path, options=options)
