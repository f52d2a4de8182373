"""Looks at the processes of this machine through /proc; where there is none, nobody is found."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path

PROC = Path("/proc")


def children(names: tuple[str, ...]) -> frozenset[int]:
    """This process's children of these names."""
    found = set()
    for folder in PROC.glob("[0-9]*"):
        name, state, parent = _status(folder.name)
        if name in names and parent == os.getpid() and state not in "ZX":
            found.add(int(folder.name))
    return frozenset(found)


def is_living(pid: int) -> bool:
    """Whether a process is there and more than a zombie."""
    return _status(str(pid))[1] not in "ZX"


def end_users_of(folder: Path) -> None:
    """Kill the processes that hold files below a folder open."""
    for process in PROC.glob("[0-9]*"):
        with suppress(OSError):  # gone meanwhile, or another user's
            files = [os.readlink(entry) for entry in (process / "fd").iterdir()]  # noqa: PTH115 - may be no path
            if any(file.startswith(f"{folder}/") for file in files):
                os.kill(int(process.name), signal.SIGKILL)


def _status(pid: str) -> tuple[str, str, int]:
    """Name, state and parent of a process; one that is gone is dead (X)."""
    try:
        name, _, rest = (PROC / pid / "stat").read_text().partition(" (")[2].rpartition(") ")
    except OSError:
        return "", "X", 0
    state, parent = rest.split(" ", 2)[:2]
    return name, state, int(parent)
