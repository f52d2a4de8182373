"""A worker's local folder: spool files, and notes of the clips in work that outlive a killed process.

Workers of one driver on one node share a folder, which no other driver uses. So a note left there by a process that is
gone means that a worker was killed at that clip while its driver and its node lived on: such a death is held against
the clip. Notes of earlier drivers and of other nodes on this machine only tell how far their clips had come.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from farm.local_disk import local_disk

ROOT_PREFIX = "wanfarm-bench-"
# Notes of drivers that are gone, moved here by the next one.
_OLD_NOTES = "old"


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftBehind:
    """A clip that its worker did not finish.

    Args:
        steps: denoising steps done, by whoever came furthest.
        is_killed: the worker was killed at it, and neither its driver nor its node was.
    """

    steps: int
    is_killed: bool


class Note:
    """That this process is at a clip, and how far it has come."""

    def __init__(self, path: Path, *, steps: int) -> None:
        self.steps = steps
        self._path = path
        with local_disk("write", path):
            self._descriptor = os.open(path, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o644)
        self._write("at")

    def stepped(self, done: int) -> None:
        """So many steps are done. One small write into the page cache."""
        self.steps = done
        self._write("at")

    def put_down(self) -> None:
        """The clip is left for another turn, though this process lives on."""
        self._write("down")
        os.close(self._descriptor)

    def remove(self) -> None:
        """The clip is settled, or its state was kept."""
        os.close(self._descriptor)
        self._path.unlink(missing_ok=True)

    def _write(self, what: str) -> None:
        # As long each time and in one call, so that a kill leaves the old text or the new.
        with local_disk("write", self._path):
            os.pwrite(self._descriptor, f"{os.getpid():>10} {self.steps:>6} {what:>4}\n".encode(), 0)


class Workbench:
    """The folder of this process below the driver's root. A disk that fails is a StorageError."""

    def __init__(self, root: Path, *, node: str = "here") -> None:
        self._root = root
        self._notes = root / node / "at"
        self.folder = root / node / f"pid-{os.getpid()}"
        with local_disk("create a folder in", root):
            self._notes.mkdir(parents=True, exist_ok=True)
            self.folder.mkdir(exist_ok=True)

    def left_behind(self, clip_id: str) -> LeftBehind | None:
        """What processes that are no longer at this clip have noted of it; asking takes their notes away."""
        found = list[LeftBehind]()
        for path in (*self._root.glob(f"*/at/{clip_id}-*"), *self._root.glob(f"{_OLD_NOTES}/{clip_id}-*")):
            with suppress(OSError, ValueError):  # settled or written just now
                pid, steps, what = path.read_text().split()
                if what == "at" and _is_alive(int(pid)):
                    continue
                found.append(LeftBehind(steps=int(steps), is_killed=what == "at" and path.parent == self._notes))
                path.unlink(missing_ok=True)
        if not found:
            return None
        return LeftBehind(steps=max(note.steps for note in found), is_killed=any(note.is_killed for note in found))

    def begin(self, clip_id: str, *, steps: int) -> Note:
        """Note that this process is at the clip, of which so many steps had been done."""
        return Note(self._notes / f"{clip_id}-{os.getpid()}", steps=steps)


def bench_root(out_uri: str, run_id: str, *, epoch: int) -> Path:
    """The root of one driver's workers on this machine.

    Of what the run's earlier drivors left the notes are kept, and the rest is cleared away.
    """
    here = Path(tempfile.gettempdir())
    name = f"{ROOT_PREFIX}{hashlib.sha256(f'{out_uri}/{run_id}'.encode()).hexdigest()[:16]}"
    root = here / f"{name}-{epoch}"
    for stale in here.glob(f"{name}-*"):
        number = stale.name.rpartition("-")[2]
        if number.isdigit() and int(number) < epoch:
            with suppress(OSError):  # another worker of this driver may be at the same
                _move_notes(stale, root / _OLD_NOTES)
            shutil.rmtree(stale, ignore_errors=True)
    return root


def clear_bench(out_uri: str, run_id: str, *, epoch: int) -> None:
    """Remove what a driver's workers left on this machine; on others its run's next driver does."""
    shutil.rmtree(bench_root(out_uri, run_id, epoch=epoch), ignore_errors=True)


def _move_notes(stale: Path, old: Path) -> None:
    old.mkdir(parents=True, exist_ok=True)
    for note in (*stale.glob("*/at/*"), *stale.glob(f"{_OLD_NOTES}/*")):
        with suppress(FileNotFoundError):
            note.replace(old / note.name)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
