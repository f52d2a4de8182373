"""Storage in a folder of a local disk or a shared POSIX mount."""

from __future__ import annotations

import errno
import os
import shutil
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, NoReturn

import pyarrow.fs

from farm.errors import AlreadyExistsError, NotFoundError, OutputError, StorageError, StorageUnavailableError
from farm.storage.base import Entry, Storage, checked_path

# Temporaries lie beside their target (a link cannot cross file systems) and begin so, which is how `sweep` and the
# listings know them. No final name begins with it.
TEMPORARY_PREFIX = ".wanfarm-tmp-"

_ADVICE = {
    errno.ENOSPC: "free some space or choose another output",
    errno.EDQUOT: "the quota is used up; free some space or choose another output",
    errno.EROFS: "the file system is read-only; choose another output",
    errno.EACCES: "check the owner and the permissions of the folder",
    errno.EPERM: "check the permissions, and that the file system knows hard links",
    errno.EEXIST: "a part of the path is a file, not a folder",
    errno.ENOTDIR: "a part of the path is a file, not a folder",
    errno.EISDIR: "the path is a folder, not a file",
    errno.EOPNOTSUPP: "the file system knows no hard links, which create-only writes need",
}


class LocalStorage(Storage):
    """Files under one folder. A final name appears by link or rename only after its content is on the disk."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root).expanduser().absolute()
        self.uri = str(self.root)

    def __repr__(self) -> str:
        return f"LocalStorage({self.uri!r})"

    def create(self, path: str, data: bytes) -> None:
        target = self._target(path)
        with _explained("create", target), self._temporary(target) as temporary:
            _write_durably(temporary, data)
            try:
                os.link(temporary, target)
            except FileExistsError:
                self._accept_same_bytes(path, data)
            _sync_folder(target.parent)

    def _accept_same_bytes(self, path: str, data: bytes) -> None:
        if self.read(path) != data:
            raise AlreadyExistsError("create", path, "the file is already there with other content")

    def replace(self, path: str, data: bytes) -> None:
        target = self._target(path)
        with _explained("replace", target), self._temporary(target) as temporary:
            _write_durably(temporary, data)
            temporary.replace(target)
            _sync_folder(target.parent)

    def put_file(self, path: str, local: Path) -> None:
        target = self._target(path)
        with _explained("put", target), self._temporary(target) as temporary:
            with local.open("rb") as source, temporary.open("xb") as sink:
                shutil.copyfileobj(source, sink, 1 << 20)
                _flush_to_disk(sink)
            temporary.replace(target)
            _sync_folder(target.parent)

    def read(self, path: str) -> bytes:
        with _explained("read", self.root / path):
            return self._target(path).read_bytes()

    def read_range(self, path: str, *, start: int, size: int) -> bytes:
        with _explained("read", self.root / path), self._target(path).open("rb") as source:
            source.seek(start)
            return source.read(size)

    def stat(self, path: str) -> Entry | None:
        with _explained("look at", self.root / path):
            try:
                status = self._target(path).stat()
            except FileNotFoundError:
                return None
        return Entry(path=path, size_bytes=status.st_size, mtime_s=status.st_mtime)

    def list(self, folder: str = "") -> Iterator[Entry]:
        with _explained("list", self.root / folder):
            for item in _walk(self._folder(folder)):
                with suppress(FileNotFoundError):  # deleted between the listing and the look
                    status = item.stat()
                    yield Entry(path=self._relative(item), size_bytes=status.st_size, mtime_s=status.st_mtime)

    def names(self, folder: str = "") -> Iterator[str]:
        with _explained("list", self.root / folder):
            for item in _walk(self._folder(folder)):
                yield self._relative(item)

    def folders(self, folder: str = "") -> Sequence[str]:
        with _explained("list", self.root / folder):
            try:
                with os.scandir(self._folder(folder)) as items:
                    return sorted(item.name for item in items if item.is_dir())
            except FileNotFoundError:
                return []

    def delete(self, path: str) -> None:
        with _explained("delete", self.root / path):
            self._target(path).unlink(missing_ok=True)

    def prune(self, folder: str) -> None:
        for path, _, _ in os.walk(self._folder(folder), topdown=False):
            with suppress(OSError):  # not empty, or another was quicker
                Path(path).rmdir()

    def now(self) -> float:
        # A file's own stamp, not this host's clock: on a shared mount the two differ.
        with _explained("ask the time of", self.root), self._temporary(self.root / "now") as temporary:
            with temporary.open("xb"):
                return temporary.stat().st_mtime

    def uri_of(self, path: str) -> str:
        return str(self.root / path)

    def arrow_filesystem(self) -> pyarrow.fs.FileSystem:
        return pyarrow.fs.LocalFileSystem()

    def arrow_path(self, path: str) -> str:
        return str(self.root / path)

    def sweep(self, *, older_than_s: float) -> int:
        now = self.now()
        num_removed = 0
        with _explained("sweep", self.root):
            for item in _walk(self.root, temporaries=True):
                with suppress(FileNotFoundError):
                    if now - item.stat().st_mtime >= older_than_s:
                        Path(item.path).unlink()
                        num_removed += 1
        return num_removed

    def probe_writable(self) -> None:
        missing = [folder for folder in (self.root, *self.root.parents) if not os.path.lexists(folder)]
        try:
            super().probe_writable()
        except OutputError:
            for folder in missing:
                with suppress(OSError):
                    folder.rmdir()
            raise

    def _target(self, path: str) -> Path:
        return self.root / checked_path(path)

    def _folder(self, folder: str) -> Path:
        return self.root / checked_path(folder) if folder else self.root

    def _relative(self, item: os.DirEntry[str]) -> str:
        return item.path[len(self.uri.rstrip("/")) + 1 :]

    @contextmanager
    def _temporary(self, target: Path) -> Iterator[Path]:
        """A free name beside the target, in a folder that exists; whatever is left under it goes at the end."""
        _make_folder(target.parent)
        temporary = target.with_name(f"{TEMPORARY_PREFIX}{uuid.uuid4().hex}")
        try:
            yield temporary
        finally:
            temporary.unlink(missing_ok=True)


def _walk(folder: Path, *, temporaries: bool = False) -> Iterator[os.DirEntry[str]]:
    """Files below a folder: the final ones, or the temporaries instead."""
    try:
        items = list(os.scandir(folder))
    except FileNotFoundError:
        return
    for item in items:
        if item.is_dir():
            yield from _walk(Path(item.path), temporaries=temporaries)
        elif item.name.startswith(TEMPORARY_PREFIX) is temporaries:
            yield item


def _write_durably(path: Path, data: bytes) -> None:
    with path.open("xb") as sink:
        sink.write(data)
        _flush_to_disk(sink)


def _flush_to_disk(sink: BinaryIO) -> None:
    sink.flush()
    os.fsync(sink.fileno())


def _make_folder(folder: Path) -> None:
    """`mkdir -p` whose new entries survive a power cut."""
    if folder.is_dir():
        return
    _make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    _sync_folder(folder.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some mounts cannot sync a folder (EINVAL); the file itself is synced, and there is nothing more to do.
        if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
            raise
    finally:
        os.close(descriptor)


@contextmanager
def _explained(action: str, path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        _raise_explained(error, action=action, path=path)


def _raise_explained(error: OSError, *, action: str, path: Path) -> NoReturn:
    where = error.filename if isinstance(error.filename, str) else str(path)
    kind: type[StorageError] = StorageError
    if isinstance(error, FileNotFoundError):
        kind = NotFoundError
    elif error.errno in (errno.ESTALE, errno.EIO, errno.ETIMEDOUT):
        kind = StorageUnavailableError
    reason = error.strerror or str(error)
    raise kind(action, where, reason, error.errno, _ADVICE.get(error.errno or 0, "")) from error
