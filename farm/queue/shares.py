"""Fair shares between keys: start-time fair queueing (Goyal, Vin and Cheng, SIGCOMM 1996).

Each sharer bears a tag: the device-seconds that it was handed, over its weight. The lowest tag is next. A sharer
that had nothing to do begins at the tag of the newest job handed out, so that idling saves nothing up. Between any two
that both have work all the while, what they are handed differs, over their weights, by one job each at most.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from farm.queue.entries import Sharer


class Shares:
    """The tags of one queue's sharers. `weights` are their projects', 1 where they name none."""

    def __init__(self, weights: Mapping[str, float]) -> None:
        self._weights = weights
        self._tags: dict[Sharer, float] = {}
        self._now = 0.0

    def entered(self, sharer: Sharer) -> None:
        """It has work, having had none."""
        self._tags[sharer] = max(self._tags.get(sharer, 0.0), self._now)

    def first(self, sharers: Iterable[Sharer]) -> Sharer:
        """Whose turn it is among those that have work; there must be one."""
        return min(sharers, key=lambda sharer: (self._tags[sharer], sharer))

    def charge(self, sharer: Sharer, device_seconds: float) -> None:
        """A job of that sharer is handed out."""
        self._now = max(self._now, self._tags[sharer])
        self._tags[sharer] += device_seconds / self.weight(sharer)

    def give_back(self, sharer: Sharer, device_seconds: float) -> None:
        """It took less than it was charged for; negative where it took more."""
        if sharer in self._tags:
            self._tags[sharer] -= device_seconds / self.weight(sharer)

    def weight(self, sharer: Sharer) -> float:
        project, _ = sharer
        return self._weights.get(project, 1.0)

    def tag(self, sharer: Sharer) -> float:
        """Of a sharer that has work."""
        return self._tags[sharer]

    def forget(self, *, but: Iterable[Sharer]) -> None:
        """Drop the tags that say nothing any more: of sharers without work that would begin anew at the same tag."""
        kept = set(but)
        self._tags = {name: tag for name, tag in self._tags.items() if name in kept or tag > self._now}
