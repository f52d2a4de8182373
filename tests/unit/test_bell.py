"""Long polls wake when the bell rings for their job, from whatever thread."""

from __future__ import annotations

import asyncio
import threading

from deployments.bell import Bell


def test_who_waits_for_a_job_hears_of_it_alone() -> None:
    async def run() -> list[bool]:
        bell = Bell()
        waits = [bell.heard("a", timeout_s=2), bell.heard("b", timeout_s=0.2), bell.heard(None, timeout_s=2)]
        threading.Timer(0.05, bell.ring, ["a"]).start()
        return await asyncio.gather(*waits)

    assert asyncio.run(run()) == [True, False, True]


def test_nothing_is_left_of_those_who_waited() -> None:
    async def run() -> Bell:
        bell = Bell()
        await asyncio.gather(*(bell.heard("a", timeout_s=0.01) for _ in range(10)))
        return bell

    bell = asyncio.run(run())

    assert not bell._of_job
    bell.ring("a")  # its loop is gone: nobody to wake, nothing to raise
