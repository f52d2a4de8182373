"""Reading files by URI: manifests and the inputs they name, from a folder, S3 or the web, through fsspec."""

from __future__ import annotations

import os
import posixpath
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec

from farm.errors import NotFoundError, StorageError
from farm.settings import Settings

PROTOCOLS = ("file", "s3", "http", "https", "memory")


@dataclass(frozen=True, slots=True, kw_only=True)
class Stat:
    """Size, and a text that changes when the content does; None where the server gives nothing of the kind."""

    size_bytes: int | None
    version: str | None


class Files:
    """Files of strangers, read only. Every method raises StorageError (NotFoundError where nothing is there)."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._systems: dict[str, Any] = {}
        self._lock = threading.Lock()

    def stat(self, uri: str) -> Stat:
        """What can be known of a file without reading it."""
        with self._explained("read", uri):
            facts = self._system(uri).info(_path(uri))
            if facts.get("type") == "directory":
                raise NotFoundError("read", uri, "it is a folder")
            if facts.get("type") != "file":
                raise StorageError("read", uri, "it is no regular file")  # reading a pipe would wait for ever
        size = facts.get("size")
        if protocol_of(uri) == "file":
            return Stat(size_bytes=size, version=f"{facts['mtime']!r}-{facts['ino']}-{size}")
        marks = [str(facts[key]) for key in ("ETag", "LastModified", "Last-Modified", "created") if facts.get(key)]
        return Stat(size_bytes=size, version=f"{marks[0]}-{size}" if marks else None)

    def read(self, uri: str, *, max_bytes: int) -> bytes:
        """The content, or its first `max_bytes` + 1 bytes where it is longer."""
        with self._explained("read", uri), self._system(uri).open(_path(uri), "rb") as file:
            return bytes(file.read(max_bytes + 1))

    def download(self, uri: str, target: Path) -> None:
        """Copy a file to a local path."""
        with self._explained("read", uri):
            self._system(uri).get_file(_path(uri), str(target))

    def expand(self, uri: str) -> list[str]:
        """The files that a URI stands for: itself, or those of a folder or glob, sorted. Empty where nothing is."""
        with self._explained("list", uri):
            system, path = self._system(uri), _path(uri)
            if system.isfile(path):
                return [uri]
            found = system.find(path) if system.isdir(path) else system.glob(path) if _is_glob(path) else []
        prefix = "" if protocol_of(uri) == "file" else protocol_of(uri) + "://"
        return sorted(prefix + name.removeprefix(prefix) for name in found)

    def _system(self, uri: str) -> Any:
        protocol = protocol_of(uri)
        if protocol not in PROTOCOLS:
            raise StorageError("read", uri, f"{protocol}:// is none of {', '.join(PROTOCOLS)}")
        with self._lock:
            if protocol not in self._systems:
                options = {
                    **_patience(protocol, self._settings.input_timeout_s),
                    **self._settings.options_for(protocol),
                }
                self._systems[protocol] = fsspec.filesystem(
                    protocol, skip_instance_cache=True, use_listings_cache=False, **options
                )
            return self._systems[protocol]

    @contextmanager
    def _explained(self, action: str, uri: str) -> Iterator[None]:
        """Turns what clients raise into StorageError without credentials."""
        try:
            yield
        except FileNotFoundError as error:
            raise NotFoundError(action, uri, "it does not exist") from error
        except IsADirectoryError as error:
            raise NotFoundError(action, uri, "it is a folder") from error
        except OSError as error:
            raise StorageError(action, uri, error.strerror or type(error).__name__, error.errno) from error
        except ValueError as error:
            raise StorageError(action, uri, f"the address is not valid ({type(error).__name__})") from error
        except StorageError:
            raise
        except Exception as error:
            if not _is_client_error(error):
                raise
            raise StorageError(action, uri, type(error).__name__, advice="check address and credentials") from error


def protocol_of(uri: str) -> str:
    """The scheme of a URI; a plain path is a file."""
    return uri.split("://", 1)[0].lower() if "://" in uri else "file"


def resolve(uri: str, *, base: str) -> str:
    """An absolute URI: relative ones stand below `base`, the URI of a folder."""
    if "://" in uri:
        return uri
    if protocol_of(base) == "file":
        return os.path.normpath(Path(_path(base), uri))
    if uri.startswith("/"):
        return uri
    scheme, _, path = base.partition("://")
    return f"{scheme}://{posixpath.normpath(posixpath.join(path, uri))}"


def _patience(protocol: str, timeout_s: float) -> dict[str, Any]:
    """How long to wait for a server, in the words of its client."""
    if protocol == "s3":
        return {"config_kwargs": {"connect_timeout": timeout_s, "read_timeout": timeout_s}}
    if protocol in ("http", "https"):
        # fsspec loads aiohttp for these anyhow; other commands need not.
        from aiohttp import ClientTimeout

        return {"client_kwargs": {"timeout": ClientTimeout(total=timeout_s)}}
    return {}


def _path(uri: str) -> str:
    """A URI as its file system names it."""
    protocol = protocol_of(uri)
    if protocol in ("http", "https"):
        return uri
    path = uri.split("://", 1)[1] if "://" in uri else uri
    return str(Path(path).expanduser().absolute()) if protocol == "file" else path


def _is_glob(path: str) -> bool:
    return any(mark in path for mark in "*?[")


def _is_client_error(error: Exception) -> bool:
    """Errors of the S3 and HTTP clients, whose libraries take half a second to import: known by their home."""
    return type(error).__module__.split(".")[0] in ("botocore", "aiohttp", "s3fs")
