"""Wakes who waits for a job to change, or for any: long polls hang on it. For one event loop, rung from any thread."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from contextlib import suppress


class Bell:
    """Make it inside the loop that waits."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._of_job: defaultdict[str, set[asyncio.Event]] = defaultdict(set)
        self._of_any: set[asyncio.Event] = set()

    def ring(self, job_id: str) -> None:
        """That job changed. Safe in every thread; returns at once."""
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(self._wake, job_id)

    async def heard(self, job_id: str | None, *, timeout_s: float) -> bool:
        """Wait for that job (any, where it is None) to change; False where it did not in that time."""
        waiting = self._of_any if job_id is None else self._of_job[job_id]
        event = asyncio.Event()
        waiting.add(event)
        try:
            await asyncio.wait_for(event.wait(), timeout_s)
        except TimeoutError:
            return False
        finally:
            waiting.discard(event)
            if job_id is not None and not self._of_job[job_id]:
                del self._of_job[job_id]
        return True

    def _wake(self, job_id: str) -> None:
        for event in (*self._of_any, *self._of_job.get(job_id, ())):
            event.set()
