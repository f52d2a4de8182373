"""Following one job to its end: each time it is another than before, what it is now.

The dispatcher is asked to answer when something changes; while it is away, and now and then anyhow, the storage is
looked at. So a watcher hears of the end whoever is alive.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

from deployments.errors import MissingError
from deployments.principal import Principal
from deployments.service import Snapshot, VideoService
from farm.queue.backlog import Progress
from farm.queue.job import JobView

# How long the dispatcher may keep a question; estimates that change by themselves are told as often.
ASK_S = 3.0
# Between looks at the storage: while the dispatcher answers, and while it does not.
LOOK_S, LOOK_ALONE_S = 10.0, 1.0
# At most so often something is told.
LEAST_S = 0.1


async def watch(service: VideoService, principal: Principal, job_id: str) -> AsyncIterator[Snapshot]:
    """The job now, and whenever it has changed, until it has ended (or is gone). MissingError before the first."""
    view = await service.view(principal, job_id)
    looked_s, told = time.monotonic(), None
    progress = None if view.state.is_end else await service.dispatch.progress(job_id)
    while True:
        snapshot = Snapshot(view=view, progress=progress)
        if snapshot != told:
            yield snapshot
            told = snapshot
        if view.state.is_end:
            return
        await asyncio.sleep(LEAST_S)
        progress = await _changed(service, job_id, progress)
        pause_s = LOOK_S if progress is not None else 0.0
        if _has_ended(progress) or time.monotonic() - looked_s > pause_s:
            try:
                view, looked_s = await _look(service, principal, job_id), time.monotonic()
            except MissingError:
                return


async def _look(service: VideoService, principal: Principal, job_id: str) -> JobView:
    return await service.view(principal, job_id)


async def _changed(service: VideoService, job_id: str, progress: Progress | None) -> Progress | None:
    """What the dispatcher knows next; None where it is away or does not know the job, after a moment."""
    since = -1 if progress is None else progress.version
    changed = await service.dispatch.changes(job_id, since, ASK_S)
    if changed is None:
        await asyncio.sleep(LOOK_ALONE_S - LEAST_S)
    return changed


def _has_ended(progress: Progress | None) -> bool:
    return progress is not None and progress.status not in ("queued", "in_progress")
