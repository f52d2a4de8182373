"""What the farm asks of the place its output lies in: create-only and whole-file writes, listings, a clock."""

from __future__ import annotations

import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pyarrow.fs

from farm.errors import AlreadyExistsError, OutputError, StorageError, StorageUnavailableError


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One file: its path below the storage's root, its size and when it was last written.

    Args:
        path: relative, with forward slashes.
        size_bytes: length of the content.
        mtime_s: seconds since the epoch, by the storage's clock.
    """

    path: str
    size_bytes: int
    mtime_s: float


class Storage(ABC):
    """A tree of small files, under a folder or in a bucket.

    Paths are relative to the root and use forward slashes. A storage is picklable and opens its connection when
    first used, again in each process. Every method may raise `StorageError`; those named below are its subclasses.
    """

    uri: str

    @abstractmethod
    def create(self, path: str, data: bytes) -> None:
        """Write a file that must not exist yet; readers see all of it or nothing.

        Finding the very same bytes there is success: it is how a retried request looks that had got through.
        Raises `AlreadyExistsError` when other bytes are there.
        """

    @abstractmethod
    def replace(self, path: str, data: bytes) -> None:
        """Write a file whether it exists or not; readers see the old content or the new, never a mixture."""

    @abstractmethod
    def put_file(self, path: str, local: Path) -> None:
        """As `replace`, from a local file of any length. Meant for names that bear the content's hash."""

    @abstractmethod
    def read(self, path: str) -> bytes:
        """The content; raises `NotFoundError`."""

    @abstractmethod
    def read_range(self, path: str, *, start: int, size: int) -> bytes:
        """At most `size` bytes from `start` on, fewer where the file ends; raises `NotFoundError`.

        `start` lies within the file: what servers answer beyond its end differs.
        """

    @abstractmethod
    def stat(self, path: str) -> Entry | None:
        """Size and time of a file, None when there is none."""

    @abstractmethod
    def list(self, folder: str = "") -> Iterator[Entry]:
        """Every file below a folder, at any depth, in no particular order; a missing folder is an empty one."""

    @abstractmethod
    def names(self, folder: str = "") -> Iterator[str]:
        """The paths of `list`, without looking at sizes and times: on a local disk several times faster."""

    @abstractmethod
    def folders(self, folder: str = "") -> Sequence[str]:
        """The names (not paths) of the folders directly below a folder, sorted."""

    @abstractmethod
    def delete(self, path: str) -> None:
        """Remove a file; a missing one is no error."""

    @abstractmethod
    def now(self) -> float:
        """Seconds since the epoch by the clock that stamps `Entry.mtime_s`; what leases expire by."""

    @abstractmethod
    def uri_of(self, path: str) -> str:
        """The address of a file as a person or another tool would write it."""

    @abstractmethod
    def arrow_filesystem(self) -> pyarrow.fs.FileSystem:
        """A file system for pyarrow and Ray Data; its paths come from `arrow_path`."""

    @abstractmethod
    def arrow_path(self, path: str) -> str:
        """A path of this storage as `arrow_filesystem` names it."""

    @abstractmethod
    def sweep(self, *, older_than_s: float) -> int:
        """Remove what writers that died left half done (never under a final name); returns how many."""

    @abstractmethod
    def prune(self, folder: str) -> None:
        """Remove the folder and those below it, as far as they are empty; most stores have no folders of their own.

        Only for folders that nobody puts anything into any more.
        """

    def exists(self, path: str) -> bool:
        """Whether a file is there."""
        return self.stat(path) is not None

    def probe_writable(self) -> None:
        """Prove that a run can be kept here: write, refuse a second create, read back, remove.

        Raises `OutputError` saying what failed, and leaves nothing behind.
        """
        path = f".probe-{uuid.uuid4().hex}"
        try:
            self.create(path, b"first")
            self._probe_create_only(path)
            self.delete(path)
        except StorageError as error:
            if not isinstance(error, StorageUnavailableError):
                with suppress(StorageError):
                    self.delete(path)
            raise OutputError(f"the output {self.uri} cannot be written: {error}") from error

    def _probe_create_only(self, path: str) -> None:
        # Some S3 gateways answer 200 to a conditional PUT and overwrite: a run there would lose clips silently.
        with suppress(AlreadyExistsError):
            self.create(path, b"second")
        if self.read(path) != b"first":
            advice = "use a store that honours If-None-Match on PUT"
            raise StorageError("create", path, "a second create-only write overwrote the first", None, advice)


def checked_path(path: str) -> str:
    """The path if it is relative, normal and stays below the root.

    Raises:
        ValueError: otherwise; paths are made by the farm, so this is a fault of the caller.
    """
    if not path or path != str(PurePosixPath(path)) or path.startswith("/") or ".." in path.split("/"):
        raise ValueError(f"not a path below a storage's root: {path!r}")
    return path
