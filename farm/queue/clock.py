"""The storage's clock without asking it each time: for stamps, not for leases."""

from __future__ import annotations

import time

from farm.storage.base import Storage

REFRESH_S = 60.0


class StorageClock:
    """Seconds since the epoch as the storage counts them; in one process it never goes back.

    Asks the storage once a minute and counts on by itself in between. An S3 server tells whole seconds, so that two
    processes may differ by one.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._ahead_s = 0.0
        self._asked_s: float | None = None
        self._last_s = 0.0

    def __call__(self) -> float:
        here_s = time.monotonic()
        if self._asked_s is None or here_s - self._asked_s > REFRESH_S:
            self._ahead_s, self._asked_s = self._storage.now() - time.monotonic(), here_s
        self._last_s = max(self._last_s, time.monotonic() + self._ahead_s)
        return self._last_s
