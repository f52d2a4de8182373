"""This machine's own disk, where a clip lies until it is published. That it is full or broken is no clip's fault."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from farm.errors import StorageUnavailableError

_ADVICE = {
    errno.ENOSPC: "free some space, or set TMPDIR to a folder with more",
    errno.EDQUOT: "the quota is used up; free some space, or set TMPDIR to another folder",
    errno.EROFS: "the file system is read-only; set TMPDIR to another folder",
    errno.EACCES: "check the owner and the permissions, or set TMPDIR to another folder",
    errno.ENOENT: "the folder has gone; keep whoever clears TMPDIR away from it",
}


@contextmanager
def local_disk(action: str, path: Path) -> Iterator[None]:
    """Raises StorageUnavailableError where the block raises OSError: "cannot <action> <path>: ..."."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        advice = _ADVICE.get(error.errno or 0, "")
        raise StorageUnavailableError(action, str(path), reason, error.errno, advice) from error
