"""Whether there is room for a request: by rate, by what its key has open, by the whole queue. And if not, when.

The dispatcher's backlog is up to half a second old when it is looked at, so what this replica took on since counts
besides. Replicas don't know of each other's last half second, so that limits may be exceeded by what was taken on in
that time.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from deployments.api.settings import LimitSettings
from deployments.errors import LimitedError
from deployments.principal import Principal
from farm.queue.backlog import Backlog, OwnerBacklog

# What a job is taken for whose time nobody can estimate.
UNKNOWN_S = 60.0
# What was taken on counts no longer than this, whatever became of it.
FORGET_S = 10.0
# While the queue is paused nobody can say when there is room.
PAUSED_S = 60.0
MAX_BUCKETS = 10_000

_NOTHING = OwnerBacklog(num_queued=0, num_running=0, device_seconds=0.0)


@dataclass(slots=True, kw_only=True, eq=False)
class Place:
    """A job that was taken on here lately. `told_of`: which backlog was the newest when the dispatcher heard of it."""

    key: str
    device_seconds: float
    at_s: float
    told_of: int | None = None


class Room:
    """Keeps count of requests and of what was taken on. Safe for several threads."""

    def __init__(self, limits: LimitSettings, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._limits = limits
        self._clock = clock
        self._lock = threading.Lock()
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._taken = deque[Place]()
        self._backlog: Backlog | None = None
        self._generation = 0

    def count_request(self, principal: Principal) -> None:
        """One change more. LimitedError where the key has made too many within a minute."""
        most = principal.limits.requests_per_minute or self._limits.requests_per_minute
        now_s, rate = self._clock(), most / 60.0
        with self._lock:
            left, at_s = self._buckets.pop(_key_of(principal), (float(most), now_s))
            left = min(float(most), left + (now_s - at_s) * rate)
            self._buckets[_key_of(principal)] = (left - 1.0 if left >= 1.0 else left, now_s)
            if len(self._buckets) > MAX_BUCKETS:
                self._buckets.popitem(last=False)
        if left < 1.0:
            raise LimitedError(
                f"this key makes more than {most} changes a minute",
                code="too_many_requests",
                advice="wait as Retry-After says",
                retry_after_s=(1.0 - left) / rate,
            )

    def take(self, principal: Principal, device_seconds: float | None, backlog: Backlog | None) -> Place:
        """Take one job on; it is `told` or given back. LimitedError where there is no room, saying when.

        Args:
            backlog: the dispatcher's newest, None while it is away: then only what was taken on here lately counts.
        """
        asked_s = UNKNOWN_S if device_seconds is None else device_seconds
        with self._lock:
            self._turn(backlog)
            self._check_key(principal, asked_s)
            self._check_queue(asked_s)
            place = Place(key=_key_of(principal), device_seconds=asked_s, at_s=self._clock())
            self._taken.append(place)
        return place

    def told(self, place: Place) -> None:
        """The dispatcher has been told of it: the next backlog has it."""
        place.told_of = self._generation

    def give_back(self, place: Place) -> None:
        """Nothing came of it."""
        with self._lock, suppress(ValueError):
            self._taken.remove(place)

    def _check_key(self, principal: Principal, asked_s: float) -> None:
        key, backlog = _key_of(principal), self._backlog
        own = backlog.keys.get(principal.key_id or "", _NOTHING) if backlog is not None else _NOTHING
        if backlog is not None and principal.key_id is None:
            own = backlog.projects.get(principal.project, _NOTHING)
        recent = [taken for taken in self._taken if taken.key == key]
        num_open = own.num_open + len(recent)
        most = principal.limits.max_open_jobs or self._limits.max_open_jobs
        if num_open >= most:
            mean_s = own.device_seconds / own.num_queued if own.num_queued else asked_s
            raise LimitedError(
                f"this key has {num_open} videos open, at most {most}",
                code="too_many_open_jobs",
                advice="wait for some to end, or cancel some",
                retry_after_s=self._drained_s((num_open - most + 1) * mean_s, num_sharing=self._num_sharing()),
            )
        seconds = own.device_seconds + sum(taken.device_seconds for taken in recent)
        most_s = principal.limits.max_queued_device_seconds or self._limits.max_key_device_seconds
        if num_open and seconds + asked_s > most_s:
            raise LimitedError(
                f"this key has {seconds:.0f} device-seconds of work waiting, with this one more than {most_s:g}",
                code="key_queue_full",
                advice="wait for some to end, or ask for less",
                retry_after_s=self._drained_s(seconds + asked_s - most_s, num_sharing=self._num_sharing()),
            )

    def _check_queue(self, asked_s: float) -> None:
        seconds = 0.0 if self._backlog is None else self._backlog.device_seconds
        seconds += sum(taken.device_seconds for taken in self._taken)
        most_s = self._limits.max_queue_device_seconds
        # A queue that is empty takes anything: a clip larger than the limit would else never be made.
        if seconds > 0 and seconds + asked_s > most_s:
            raise LimitedError(
                f"the queue holds {seconds:.0f} device-seconds of work, with this one more than {most_s:g}",
                code="queue_full",
                advice="try again as Retry-After says",
                retry_after_s=self._drained_s(seconds + asked_s - most_s, num_sharing=1),
            )

    def _drained_s(self, device_seconds: float, *, num_sharing: int) -> float:
        """How long the renderers take for so much work, where so many share them alike."""
        if self._backlog is None:
            return max(1.0, min(device_seconds, PAUSED_S))
        if self._backlog.pause is not None:
            return PAUSED_S
        speed = sum(
            max(1, model.num_renderers) * (model.device_seconds / model.seconds if model.seconds > 0 else 1.0)
            for model in self._backlog.models.values()
            if model.num_renderers or model.num_queued
        )
        return device_seconds * num_sharing / (speed or 1.0)

    def _num_sharing(self) -> int:
        return max(1, len(self._backlog.projects)) if self._backlog is not None else 1

    def _turn(self, backlog: Backlog | None) -> None:
        """A new backlog has what the dispatcher had been told of; while it is away, its last word is too old."""
        if backlog is not None and backlog is not self._backlog:
            self._generation += 1
        self._backlog = backlog
        now_s = self._clock()
        self._taken = deque(place for place in self._taken if self._counts(place, now_s))

    def _counts(self, place: Place, now_s: float) -> bool:
        return place.told_of in (None, self._generation) and now_s - place.at_s < FORGET_S


def _key_of(principal: Principal) -> str:
    return principal.key_id or f"project {principal.project}"
