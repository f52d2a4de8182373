"""A Ray cluster's Jobs API, as far as the farm uses it. Tokens are Ray's business: RAY_AUTH_MODE, RAY_AUTH_TOKEN."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from farm.errors import TransientError, UsageError
from jobs.session import CONNECT_S
from jobs.submissions import FarmJob, job_number

ADDRESS = "RAY_API_SERVER_ADDRESS"
UNFINISHED = ("PENDING", "RUNNING")
TAIL_LINES = 20
_PORTS = {"http": 80, "https": 443}


class JobsApiError(TransientError):
    """The Jobs API does not answer, or refused what it was asked for."""


class RayJobs:
    """The jobs of one cluster. Every method raises JobsApiError."""

    def __init__(self, client: Any, *, address: str) -> None:
        self.address = address
        self._client = client

    def jobs_of(self, run_id: str) -> list[FarmJob]:
        """All jobs of a run that this cluster has had."""
        with self._explained():
            found = self._client.list_jobs()
        # Drivers that nobody submitted are listed too; they have no submission id.
        named = [job for job in found if job.submission_id and job_number(job.submission_id, run_id) is not None]
        return [
            FarmJob(
                name=job.submission_id,
                status=str(job.status),
                is_unfinished=str(job.status) in UNFINISHED,
                exit_code=job.driver_exit_code,
            )
            for job in named
        ]

    def submit(self, name: str, entry_point: str, *, environment: Mapping[str, str]) -> None:
        """Have the head run it."""
        with self._explained():
            self._client.submit_job(
                submission_id=name, entrypoint=entry_point, runtime_env={"env_vars": dict(environment)}
            )

    def log_tail(self, name: str) -> list[str]:
        """The last lines that the job wrote."""
        with self._explained():
            return str(self._client.get_job_logs(name)).splitlines()[-TAIL_LINES:]

    @contextmanager
    def _explained(self) -> Iterator[None]:
        from ray.exceptions import RayError

        try:
            yield
        except (RayError, RuntimeError, OSError, ValueError) as error:  # OSError: all that requests raises
            raise JobsApiError(f"the Jobs API at {self.address}: {_first_line(error)}") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class RaySubmission:
    """A `JobStore` whose jobs all run the same command."""

    jobs: RayJobs
    entry_point: str
    environment: Mapping[str, str]

    def jobs_of(self, run_id: str) -> Sequence[FarmJob]:
        return self.jobs.jobs_of(run_id)

    def create(self, name: str) -> None:
        self.jobs.submit(name, self.entry_point, environment=self.environment)


def connect(address: str | None) -> RayJobs:
    """The jobs of the cluster at that URL, or at the environment's. UsageError where none answers."""
    url = _url(address or os.environ.get(ADDRESS))
    _refuse_if_absent(url)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    from ray.exceptions import RayError
    from ray.job_submission import JobSubmissionClient

    try:
        with _in_environment(url):
            client = JobSubmissionClient(url)
    except (RayError, RuntimeError, OSError, ValueError) as error:
        raise UsageError(f"no Jobs API of Ray answers at {url}: {_first_line(error)}") from error
    return RayJobs(client, address=url)


def _url(address: str | None) -> str:
    parts = urlsplit(address or "")
    if parts.scheme not in _PORTS or not parts.hostname:
        said = "" if address is None else f", not {address!r}"
        raise UsageError(f"--address (or {ADDRESS}) takes the Jobs API's URL, such as http://HEAD:8265{said}")
    return str(address).rstrip("/")


def _refuse_if_absent(url: str) -> None:
    """UsageError where nothing listens: the client itself would wait for minutes."""
    try:
        parts = urlsplit(url)
        where = (str(parts.hostname), parts.port or _PORTS[parts.scheme])
        socket.create_connection(where, timeout=CONNECT_S).close()
    except (OSError, ValueError) as error:
        raise UsageError(f"no Jobs API of Ray answers at {url}: {error}") from error


@contextmanager
def _in_environment(url: str) -> Iterator[None]:
    """What Ray takes an address from before all else: RAY_ADDRESS may name a cluster that was not asked for."""
    before = os.environ.get(ADDRESS)
    os.environ[ADDRESS] = url
    try:
        yield
    finally:
        os.environ.pop(ADDRESS)
        os.environ.update({} if before is None else {ADDRESS: before})


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:300]
