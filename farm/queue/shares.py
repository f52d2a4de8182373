"""Fair shares between projects: start-time fair queueing (Goyal, Vin and Cheng, SIGCOMM 1996).

Each project bears a tag: the device-seconds that it was handed, over its weight. The lowest tag is next. A project
that had nothing to do begins at the tag of the newest job handed out, so that idling saves nothing up. Between any two
projects that both have work all the while, what they are handed differs, over their weights, by one job each at most.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping


class Shares:
    """The tags of one queue's projects. `weights` are 1 where they name none."""

    def __init__(self, weights: Mapping[str, float]) -> None:
        self._weights = weights
        self._tags: dict[str, float] = {}
        self._now = 0.0

    def entered(self, project: str) -> None:
        """It has work, having had none."""
        self._tags[project] = max(self._tags.get(project, 0.0), self._now)

    def first(self, projects: Iterable[str]) -> str:
        """Whose turn it is among those that have work; there must be one."""
        return min(projects, key=lambda project: (self._tags[project], project))

    def charge(self, project: str, device_seconds: float) -> None:
        """A job of that project is handed out."""
        self._now = max(self._now, self._tags[project])
        self._tags[project] += device_seconds / self.weight(project)

    def give_back(self, project: str, device_seconds: float) -> None:
        """It took less than it was charged for; negative where it took more."""
        if project in self._tags:
            self._tags[project] -= device_seconds / self.weight(project)

    def weight(self, project: str) -> float:
        return self._weights.get(project, 1.0)

    def tag(self, project: str) -> float:
        """Of a project that has work."""
        return self._tags[project]

    def forget(self, *, but: Iterable[str]) -> None:
        """Drop the tags that say nothing any more: of projects without work that would begin anew at the same tag."""
        kept = set(but)
        self._tags = {name: tag for name, tag in self._tags.items() if name in kept or tag > self._now}
