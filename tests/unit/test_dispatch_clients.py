"""Whoever asks the dispatcher goes on when it is away: clients over handles that answer, hang or fail."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Generator
from typing import Any, cast

import pytest
from ray.exceptions import ActorDiedError
from ray.serve.exceptions import BackPressureError
from ray.serve.handle import DeploymentHandle

from deployments import clients
from deployments.clients import DispatchClient, HandleQueue
from farm.errors import QueueAwayError
from farm.queue.job import Job


class Response:
    """What a handle gives for a call: an answer, a fault, or nothing ever."""

    def __init__(self, answer: Any) -> None:
        self._answer = answer
        self.is_cancelled = False

    def __await__(self) -> Generator[Any, None, Any]:
        return self._wait().__await__()

    async def _wait(self) -> Any:
        if self._answer is HANGS:
            await asyncio.sleep(60)
        return self.result(timeout_s=None)

    def result(self, *, timeout_s: float | None) -> Any:
        if self._answer is HANGS:
            raise TimeoutError
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer

    def cancel(self) -> None:
        self.is_cancelled = True


HANGS = object()


class Handle:
    """A deployment whose every method gives the answer that is set now."""

    def __init__(self, answer: Any = None) -> None:
        self.answer = answer
        self.calls = list[tuple[str, tuple[Any, ...]]]()
        self.responses = list[Response]()

    def __getattr__(self, method: str) -> Any:
        return _Method(self, method)


class _Method:
    def __init__(self, handle: Handle, name: str) -> None:
        self._handle, self._name = handle, name

    def remote(self, *arguments: Any) -> Response:
        self._handle.calls.append((self._name, arguments))
        self._handle.responses.append(Response(self._handle.answer))
        return self._handle.responses[-1]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in (("ANSWER_S", 0.1), ("AWAY_S", 0.3), ("STALE_S", 0.2), ("FRESH_S", 0.1), ("MOMENT_S", 0.05)):
        monkeypatch.setattr(clients, name, seconds)
    monkeypatch.setattr(clients, "USELESS_S", 0.5)


def client_of(handle: Handle) -> DispatchClient:
    return DispatchClient(cast(DeploymentHandle, handle))


def jobs(count: int) -> list[Job]:
    return [cast(Job, f"job {number}") for number in range(count)]


FAULTS: list[Any] = [HANGS, ActorDiedError(), BackPressureError(num_queued_requests=1, max_queued_requests=1)]


def test_news_travels_in_batches() -> None:
    handle = Handle()

    async def run() -> None:
        client = client_of(handle)
        for job in jobs(500):
            client.submitted(job)
        await asyncio.sleep(0.5)

    asyncio.run(run())

    told = [job for _, (batch,) in handle.calls for job in batch]
    assert told == jobs(500)
    assert len(handle.calls) == 3


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: type(fault).__name__)
def test_nobody_waits_for_a_dispatcher_that_is_away(fault: Any) -> None:
    handle = Handle(fault)

    async def run() -> tuple[list[Any], list[float]]:
        client, answers, times = client_of(handle), list[Any](), list[float]()
        questions: list[Callable[[], Any]] = [
            lambda: client.backlog(),
            lambda: client.cancel("a"),
            lambda: client.progress("a"),
            lambda: client.progresses(["a"]),
            lambda: client.changes("a", 0, 0.2),
        ]
        for question in questions:
            begun_s = time.monotonic()
            answers.append(await question())
            times.append(time.monotonic() - begun_s)
        client.submitted(jobs(1)[0])  # neither waits nor raises
        return answers, times

    answers, times = asyncio.run(run())

    assert answers == [None, None, None, {}, None]
    assert max(times) < 0.25
    assert len(handle.calls) < 5  # it was not asked each time
    if fault is HANGS:
        assert all(response.is_cancelled for response in handle.responses)


def test_it_is_asked_again_after_a_while() -> None:
    handle = Handle(HANGS)

    async def run() -> Any:
        client = client_of(handle)
        assert await client.cancel("a") is None
        handle.answer = "dropped"
        assert await client.cancel("a") is None
        await asyncio.sleep(0.35)
        return await client.cancel("a")

    assert asyncio.run(run()) == "dropped"


def test_a_backlog_is_asked_for_once_by_many_and_kept_for_a_moment() -> None:
    handle = Handle("a backlog")

    async def run() -> list[Any]:
        client = client_of(handle)
        first = await asyncio.gather(*(client.backlog() for _ in range(50)))
        assert len(handle.calls) == 1
        await asyncio.sleep(0.15)
        handle.answer = "a newer one"
        stale = await client.backlog()  # and has it asked for
        await asyncio.sleep(0.02)
        return [*set(first), stale, await client.backlog()]

    assert asyncio.run(run()) == ["a backlog", "a backlog", "a newer one"]


def test_the_last_backlog_of_a_dead_dispatcher_counts_for_a_while() -> None:
    handle = Handle("a backlog")

    async def run() -> list[Any]:
        client = client_of(handle)
        seen = [await client.backlog()]
        handle.answer = HANGS
        await asyncio.sleep(0.3)
        seen.append(await client.backlog())
        await asyncio.sleep(0.3)
        seen.append(await client.backlog())
        return seen

    assert asyncio.run(run()) == ["a backlog", "a backlog", None]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: type(fault).__name__)
def test_renderers_hear_that_it_is_away_and_leave_no_question_behind(fault: Any) -> None:
    handle = Handle(fault)
    queue = HandleQueue(cast(DeploymentHandle, handle))

    for ask in (
        lambda: queue.take("r", "nano"),
        lambda: queue.stepped("r", "a", done=1, total=2),
        lambda: queue.ended("r", "a", "completed"),
        lambda: queue.left("r"),
    ):
        with pytest.raises(QueueAwayError):
            ask()

    assert len(handle.responses) == 4
    assert all(response.is_cancelled for response in handle.responses)
