"""How API replicas and renderers reach the dispatcher. Neither ever waits for one that is away."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Protocol

from ray.exceptions import RayError
from ray.serve.exceptions import RayServeException
from ray.serve.handle import DeploymentHandle

from farm.errors import QueueAwayError
from farm.logs import fields
from farm.queue.backlog import Backlog, Progress
from farm.queue.client import Answer, Ending
from farm.queue.dispatch import CancelAnswer
from farm.queue.job import Job

# Of a question that is answered in a millisecond by a dispatcher that is there.
ANSWER_S = 1.0
# After a question without an answer nobody asks for so long.
AWAY_S = 2.0
# A backlog is asked for again when it is so old; who finds it older than the second waits a moment for the new one, and
# it tells nothing any more when it is older than the third.
FRESH_S, STALE_S, USELESS_S = 0.5, 1.5, 10.0
MOMENT_S = 0.2
# Submissions that are told of at once, and those that wait to be: the dispatcher finds the others itself.
BATCH = 200
# A call through Serve costs both sides some milliseconds: those that come in such a time travel together.
GATHER_S = 0.1
MOST_WAITING = 5_000
# A renderer's question, which hangs for two seconds at the dispatcher.
TAKE_S = 10.0

_AWAY = (TimeoutError, RayError, RayServeException)
_LOG = logging.getLogger(__name__)


class DispatchPort(Protocol):
    """What the API asks of the dispatcher. None (or nothing) where it is away, or does not know."""

    def submitted(self, job: Job) -> None:
        """Tell of a job that has just been put into the storage. Returns at once; it may be forgotten."""

    async def cancel(self, job_id: str) -> CancelAnswer | None: ...

    async def backlog(self) -> Backlog | None: ...

    async def progress(self, job_id: str) -> Progress | None: ...

    async def progresses(self, job_ids: Sequence[str]) -> Mapping[str, Progress]: ...

    async def changes(self, job_id: str, since: int, timeout_s: float) -> Progress | None:
        """The job as soon as it is another than version `since`, or as it is after that time."""


class DispatchClient:
    """A `DispatchPort` through Serve, for one event loop."""

    def __init__(self, dispatcher: DeploymentHandle) -> None:
        self._dispatcher = dispatcher
        self._away_until_s = 0.0
        self._news = deque[Job](maxlen=MOST_WAITING)
        self._telling: asyncio.Task[None] | None = None
        self._backlog: Backlog | None = None
        self._backlog_s = float("-inf")
        self._asking: asyncio.Task[None] | None = None

    def submitted(self, job: Job) -> None:
        self._news.append(job)
        if self._telling is None or self._telling.done():
            self._telling = asyncio.get_running_loop().create_task(self._tell())

    async def cancel(self, job_id: str) -> CancelAnswer | None:
        answer: CancelAnswer | None = await self._ask("cancel", job_id)
        return answer

    async def backlog(self) -> Backlog | None:
        age_s = time.monotonic() - self._backlog_s
        if age_s > FRESH_S and (self._asking is None or self._asking.done()):
            self._asking = asyncio.get_running_loop().create_task(self._refresh())
        if age_s > STALE_S and self._asking is not None:
            await asyncio.wait({self._asking}, timeout=MOMENT_S)
        return self._backlog if time.monotonic() - self._backlog_s < USELESS_S else None

    async def progress(self, job_id: str) -> Progress | None:
        return (await self.progresses([job_id])).get(job_id)

    async def progresses(self, job_ids: Sequence[str]) -> Mapping[str, Progress]:
        found: dict[str, Progress] | None = await self._ask("progresses", list(job_ids))
        return found or {}

    async def changes(self, job_id: str, since: int, timeout_s: float) -> Progress | None:
        progress: Progress | None = await self._ask("changes", job_id, since, timeout_s, more_s=timeout_s)
        return progress

    async def _ask(self, method: str, *arguments: Any, more_s: float = 0.0) -> Any:
        if time.monotonic() < self._away_until_s:
            return None
        response = getattr(self._dispatcher, method).remote(*arguments)
        try:
            return await asyncio.wait_for(response, ANSWER_S + more_s)
        except _AWAY as error:
            response.cancel()  # else it waits for the next dispatcher, and may be answered to nobody
            self._away_until_s = time.monotonic() + AWAY_S
            _LOG.info("dispatcher does not answer", extra=fields(error_class=type(error).__name__))
            return None

    async def _tell(self) -> None:
        """All that waits, batch by batch; what finds nobody is dropped. The first of many goes at once."""
        while self._news:
            batch = [self._news.popleft() for _ in range(min(BATCH, len(self._news)))]
            await self._ask("submitted", batch)
            await asyncio.sleep(GATHER_S)

    async def _refresh(self) -> None:
        if (found := await self._ask("backlog")) is not None:
            self._backlog, self._backlog_s = found, time.monotonic()


class HandleQueue:
    """A `farm.queue.client.QueueClient` through Serve, for any thread but an event loop's."""

    def __init__(self, dispatcher: DeploymentHandle) -> None:
        self._dispatcher = dispatcher

    def take(self, renderer: str, model: str) -> Job | None:
        job: Job | None = self._ask("take", renderer, model, timeout_s=TAKE_S)
        return job

    def stepped(
        self, renderer: str, job_id: str, *, done: int | None, total: int | None, preview: bytes | None = None
    ) -> Answer:
        answer: Answer = self._ask("stepped", renderer, job_id, done, total, preview)
        return answer

    def ended(self, renderer: str, job_id: str, ending: Ending) -> None:
        self._ask("ended", renderer, job_id, ending)

    def left(self, renderer: str) -> None:
        self._ask("left", renderer)

    def _ask(self, method: str, *arguments: Any, timeout_s: float = ANSWER_S) -> Any:
        response = None
        try:
            response = getattr(self._dispatcher, method).remote(*arguments)
            return response.result(timeout_s=timeout_s)
        except _AWAY as error:
            if response is not None:
                with suppress(Exception):
                    response.cancel()
            raise QueueAwayError(f"the dispatcher does not answer ({type(error).__name__})") from error
