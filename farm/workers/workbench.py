"""A worker's local folder: spool files, and a note of the clip in work that outlives a killed process.

Workers of one driver on one node share a bench's root, which no other driver uses. So a note left behind means that
a worker was killed at that clip while its driver and its node lived on: such a death is held against the clip.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT_PREFIX = "wanfarm-bench-"


class Workbench:
    """The folder of this process below the driver's root."""

    def __init__(self, root: Path) -> None:
        self._notes = root / "at"
        self._notes.mkdir(parents=True, exist_ok=True)
        self.folder = root / f"pid-{os.getpid()}"
        self.folder.mkdir(exist_ok=True)

    def was_killed_at(self, clip_id: str) -> bool:
        """Whether a process died at this clip; asking takes the note away."""
        note = self._notes / clip_id
        try:
            pid = int(note.read_text())
        except (FileNotFoundError, ValueError):
            return False
        if pid == os.getpid() or _is_alive(pid):
            return False
        note.unlink(missing_ok=True)
        return True

    @contextmanager
    def working_at(self, clip_id: str) -> Iterator[None]:
        """Hold a note for as long as the clip is in work; an exception removes it too."""
        note = self._notes / clip_id
        note.write_text(str(os.getpid()))
        try:
            yield
        finally:
            note.unlink(missing_ok=True)


def bench_root(out_uri: str, run_id: str, *, epoch: int) -> Path:
    """The root of one driver's workers on this machine; what the run's earlier drivers left is cleared away."""
    here = Path(tempfile.gettempdir())
    name = f"{ROOT_PREFIX}{hashlib.sha256(f'{out_uri}/{run_id}'.encode()).hexdigest()[:16]}"
    for stale in here.glob(f"{name}-*"):
        number = stale.name.rpartition("-")[2]
        if number.isdigit() and int(number) < epoch:
            shutil.rmtree(stale, ignore_errors=True)
    return here / f"{name}-{epoch}"


def clear_bench(out_uri: str, run_id: str, *, epoch: int) -> None:
    """Remove what a driver's workers left on this machine; on others its run's next driver does."""
    shutil.rmtree(bench_root(out_uri, run_id, epoch=epoch), ignore_errors=True)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
