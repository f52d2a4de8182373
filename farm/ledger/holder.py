"""Who holds a run, and whether that process is still there."""

from __future__ import annotations

import os
import socket
import uuid
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field


class Holder(BaseModel):
    """A driver process, told from all others that ever had its pid.

    The last three are None where the system does not say (outside Linux); then only the lease's end shows a death.

    Args:
        since_s: when it took the run, by the storage's clock.
        boot_id: of the machine's present boot.
        started: the process's start, in ticks since the boot.
        pid_namespace: two containers of one machine count pids apart.
        nonce: makes each claim's bytes its own.
    """

    model_config = ConfigDict(frozen=True, extra="allow")

    host: str
    pid: int
    since_s: float
    boot_id: str | None
    started: int | None
    pid_namespace: str | None
    nonce: str = Field(default_factory=lambda: uuid.uuid4().hex)


def this_process(*, since_s: float) -> Holder:
    """The holder that this process would be."""
    pid = os.getpid()
    return Holder(
        host=socket.gethostname(),
        pid=pid,
        since_s=since_s,
        boot_id=_boot_id(),
        started=_started(pid),
        pid_namespace=_pid_namespace(),
    )


def is_known_dead(holder: Holder) -> bool:
    """Whether the holder ran on this machine and is gone; False also when that cannot be told from here."""
    here = this_process(since_s=0.0)
    places = [(other.host, other.boot_id, other.pid_namespace) for other in (holder, here)]
    if None in places[0] or places[0] != places[1]:
        return False
    return _started(holder.pid) != holder.started


def _boot_id() -> str | None:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return None


def _started(pid: int) -> int | None:
    """Start of a process in ticks since the boot; None when it is gone, or a zombie that only waits to be reaped."""
    try:
        # The name, in brackets, may itself hold blanks and brackets: what follows the last one is regular.
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except (OSError, IndexError):
        return None
    return None if fields[0] in "ZX" else int(fields[19])


def _pid_namespace() -> str | None:
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return None
