"""How much each project and each key has open."""

from __future__ import annotations

from collections.abc import Mapping

from farm.queue.backlog import OwnerBacklog
from farm.queue.entries import Entry


class Owners:
    """Counts kept as jobs come and go."""

    def __init__(self) -> None:
        self._projects: dict[str, _Count] = {}
        self._keys: dict[str, _Count] = {}

    def count(self, entry: Entry, *, queued: int = 0, running: int = 0, device_seconds: float = 0.0) -> None:
        """Add so much to the job's project and key; nothing is kept of owners with nothing open."""
        _add(self._projects, entry.job.project, queued, running, device_seconds)
        if entry.job.key_id is not None:
            _add(self._keys, entry.job.key_id, queued, running, device_seconds)

    def projects(self) -> Mapping[str, OwnerBacklog]:
        return _told(self._projects)

    def keys(self) -> Mapping[str, OwnerBacklog]:
        return _told(self._keys)


_Count = list[float]  # queued, running, device-seconds of the queued


def _add(counts: dict[str, _Count], owner: str, queued: int, running: int, device_seconds: float) -> None:
    count = counts.setdefault(owner, [0, 0, 0.0])
    count[0] += queued
    count[1] += running
    count[2] = count[2] + device_seconds if count[0] else 0.0
    if not count[0] and not count[1]:
        del counts[owner]


def _told(counts: Mapping[str, _Count]) -> Mapping[str, OwnerBacklog]:
    return {
        owner: OwnerBacklog(num_queued=int(queued), num_running=int(running), device_seconds=max(0.0, seconds))
        for owner, (queued, running, seconds) in counts.items()
    }
