"""The Jobs API behind a few names: which jobs are a run's, whose address counts, and errors in one line."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import ray.job_submission
from ray.job_submission import JobStatus

from farm.errors import TransientError, UsageError
from jobs.ray_jobs import TAIL_LINES, RayJobs, RaySubmission, connect

RUN = "0123456789abcdef"


def detail(submission_id: str | None, status: JobStatus, exit_code: int | None = None) -> SimpleNamespace:
    return SimpleNamespace(submission_id=submission_id, status=status, driver_exit_code=exit_code)


class Client:
    """What Ray's client would answer."""

    def __init__(self, url: str = "") -> None:
        self.url = url
        self.environment = dict(os.environ)
        self.submitted: dict[str, Any] = {}

    def list_jobs(self) -> list[SimpleNamespace]:
        return [
            detail(None, JobStatus.RUNNING),  # a driver that nobody submitted
            detail("raysubmit_1", JobStatus.RUNNING),
            detail(f"farm-{RUN}-1", JobStatus.FAILED, 75),
            detail(f"farm-{RUN}-2-x7abc", JobStatus.PENDING),
        ]

    def submit_job(self, **request: Any) -> None:
        self.submitted = request

    def get_job_logs(self, name: str) -> str:
        return "".join(f"{name} {number}\n" for number in range(100))


class BrokenClient(Client):
    def list_jobs(self) -> list[SimpleNamespace]:
        raise RuntimeError("Request failed with status code 500:\nTraceback")


@pytest.fixture
def port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_the_jobs_of_a_run() -> None:
    first, second = RayJobs(Client(), address="http://head").jobs_of(RUN)
    assert (first.name, first.is_unfinished, first.exit_code) == (f"farm-{RUN}-1", False, 75)
    assert (second.status, second.is_unfinished, second.exit_code) == ("PENDING", True, None)


def test_a_submission_carries_its_environment_and_nothing_else() -> None:
    client = Client()
    RaySubmission(
        jobs=RayJobs(client, address="http://head"), entry_point="wanfarm render m", environment={"A": "1"}
    ).create("farm-x-1")
    wanted = {"submission_id": "farm-x-1", "entrypoint": "wanfarm render m", "runtime_env": {"env_vars": {"A": "1"}}}
    assert client.submitted == wanted


def test_the_end_of_a_log() -> None:
    lines = RayJobs(Client(), address="http://head").log_tail("job")
    assert (len(lines), lines[-1]) == (TAIL_LINES, "job 99")


def test_a_refusal_is_one_line_that_says_where() -> None:
    with pytest.raises(TransientError) as caught:
        RayJobs(BrokenClient(), address="http://head:8265").jobs_of(RUN)
    assert str(caught.value) == "the Jobs API at http://head:8265: Request failed with status code 500:"


def test_what_was_asked_for_counts_for_more_than_the_environment(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "http://elsewhere:8265")
    monkeypatch.setattr(ray.job_submission, "JobSubmissionClient", Client)
    jobs = connect(f"http://127.0.0.1:{port}/")
    assert jobs.address == f"http://127.0.0.1:{port}"
    # Ray's client takes an address from there before it takes the one that it is given.
    assert jobs._client.environment["RAY_API_SERVER_ADDRESS"] == jobs.address
    assert os.environ["RAY_API_SERVER_ADDRESS"] == "http://elsewhere:8265"


def test_the_environment_tells_where_nobody_says(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", f"http://127.0.0.1:{port}")
    monkeypatch.setattr(ray.job_submission, "JobSubmissionClient", Client)
    assert connect(None).address == f"http://127.0.0.1:{port}"


def test_something_else_that_listens(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(url: str) -> None:
        raise ConnectionError("Failed to connect to Ray\nat all")

    monkeypatch.setattr(ray.job_submission, "JobSubmissionClient", refuse)
    with pytest.raises(UsageError, match=r"no Jobs API of Ray answers at http://127\S+: Failed to connect to Ray$"):
        connect(f"http://127.0.0.1:{port}")
