"""Storage in a dict: the double that ships beside the real ones and passes the same tests."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow.fs
from fsspec.implementations.memory import MemoryFileSystem

from farm.errors import AlreadyExistsError, NotFoundError
from farm.storage.base import Entry, Storage, checked_path

_lock = threading.Lock()
_trees: dict[str, dict[str, tuple[bytes, float]]] = {}


class MemoryStorage(Storage):
    """One tree per name, shared by all storages of that name in this process; other processes see an empty one.

    `advance` moves its clock, so a test of a lease need not wait.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.uri = f"memory://{name}"
        self._ahead_s = 0.0

    def __repr__(self) -> str:
        return f"MemoryStorage({self.uri!r})"

    @property
    def _tree(self) -> dict[str, tuple[bytes, float]]:
        return _trees.setdefault(self.name, {})

    def advance(self, seconds: float) -> None:
        """Let time pass for this storage."""
        self._ahead_s += seconds

    def create(self, path: str, data: bytes) -> None:
        checked_path(path)
        with _lock:
            held = self._tree.get(path)
            if held is not None and held[0] != data:
                raise AlreadyExistsError("create", path, "the file is already there with other content")
            if held is None:
                self._tree[path] = (bytes(data), self.now())

    def replace(self, path: str, data: bytes) -> None:
        with _lock:
            self._tree[checked_path(path)] = (bytes(data), self.now())

    def put_file(self, path: str, local: Path) -> None:
        self.replace(path, local.read_bytes())

    def read(self, path: str) -> bytes:
        with _lock:
            held = self._tree.get(checked_path(path))
        if held is None:
            raise NotFoundError("read", path, "there is no such file")
        return held[0]

    def read_range(self, path: str, *, start: int, size: int) -> bytes:
        return self.read(path)[start : start + size]

    def stat(self, path: str) -> Entry | None:
        with _lock:
            held = self._tree.get(checked_path(path))
        return None if held is None else Entry(path=path, size_bytes=len(held[0]), mtime_s=held[1])

    def list(self, folder: str = "") -> Iterator[Entry]:
        with _lock:
            held = {path: value for path, value in self._tree.items() if _is_below(path, folder)}
        for path, (data, mtime_s) in held.items():
            yield Entry(path=path, size_bytes=len(data), mtime_s=mtime_s)

    def names(self, folder: str = "") -> Iterator[str]:
        return (entry.path for entry in self.list(folder))

    def folders(self, folder: str = "") -> Sequence[str]:
        depth = len(folder.split("/")) if folder else 0
        parts = [path.split("/") for path in self.names(folder)]
        return sorted({part[depth] for part in parts if len(part) > depth + 1})

    def delete(self, path: str) -> None:
        with _lock:
            self._tree.pop(checked_path(path), None)

    def now(self) -> float:
        return time.time() + self._ahead_s

    def uri_of(self, path: str) -> str:
        return f"{self.uri}/{path}"

    def arrow_filesystem(self) -> pyarrow.fs.FileSystem:
        """A snapshot of the tree: what is written through it stays in it."""
        files = MemoryFileSystem(skip_instance_cache=True)
        files.store, files.pseudo_dirs = {}, [""]
        for path in list(self.names()):
            files.pipe_file(self.arrow_path(path), self.read(path))
        return pyarrow.fs.PyFileSystem(pyarrow.fs.FSSpecHandler(files))

    def arrow_path(self, path: str) -> str:
        return f"/{self.name}/{path}"

    def prune(self, folder: str) -> None:
        """A folder is there as long as a file is in it."""

    def sweep(self, *, older_than_s: float) -> int:
        return 0


def _is_below(path: str, folder: str) -> bool:
    return not folder or path.startswith(folder + "/")
