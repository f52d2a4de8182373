"""How renderers speak with the dispatcher, wherever it lives: here in tests, through Ray in a cluster."""

from __future__ import annotations

from typing import Literal, Protocol

from farm.queue.job import Job

Answer = Literal["go on", "stop"]
"""What a renderer is to do with its job; "stop": its cancellation is wished."""

Ending = Literal["completed", "answered", "failed", "cancelled", "put down", "held", "gone"]
"""How a renderer is rid of a job.

    completed, answered (from the ledger), failed, cancelled   its end stands in the storage
    put down    the renderer leaves, or its gang broke: for the next one
    held        another worker has its lease or its clip: to be looked at again later
    gone        its end stood there already, or it was removed
"""


class QueueClient(Protocol):
    """Every method raises `farm.errors.QueueAwayError` where the dispatcher does not answer, and never waits for long.

    Whoever calls anything but `left` counts as alive for the dispatcher's `silence_s`.
    """

    def take(self, renderer: str, model: str) -> Job | None:
        """The next job of that model, None where there is none. Whatever that renderer had before, it has no more."""

    def stepped(
        self, renderer: str, job_id: str, *, done: int | None, total: int | None, preview: bytes | None = None
    ) -> Answer:
        """How far a job is: after every step, and every few seconds anyhow, as a sign of life.

        `done` is None before its first step is known, `preview` the picture after `done` steps.
        """

    def ended(self, renderer: str, job_id: str, ending: Ending) -> None:
        """That renderer is rid of the job."""

    def left(self, renderer: str) -> None:
        """That renderer is gone, and what it was at is free."""
