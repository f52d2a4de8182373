"""One open job in the dispatcher's memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from farm.queue.job import Job

Sharer = tuple[str, str]
"""Whose turn comes: a project, and one of its keys ("" for jobs that came without)."""

Place = Literal["queued", "waiting", "running", "ending"]
"""Where a job is.

    queued    in its sharer's heap, or to be answered from the ledger
    waiting   another job of its clip runs
    running   handed out, or in work elsewhere
    ending    its cancellation is wished and nobody renders it: only its end must still be written
"""


@dataclass(slots=True, kw_only=True)
class Run:
    """A job in work.

    Args:
        renderer: None where it is in work elsewhere, or was a moment ago.
        begun_s, seen_s: when it was handed out, and when last heard of.
        first: steps done at the first report, and when that came; `last` likewise.
        preview_step: steps done when `preview` was made.
    """

    renderer: str | None
    begun_s: float
    seen_s: float
    first: tuple[int, float] | None = None
    last: tuple[int, float] | None = None
    num_steps: int | None = None
    preview: bytes | None = None
    preview_step: int | None = None

    def report(self, now_s: float, *, done: int | None, total: int | None, preview: bytes | None) -> bool:
        """Take a renderer's word in; whether it says anything new."""
        self.seen_s = now_s
        if preview is not None:
            self.preview, self.preview_step = preview, done
        if done is None or (self.last is not None and self.last[0] == done):
            return preview is not None
        if self.last is None or done < self.last[0]:  # begun anew after a fault
            self.first = (done, now_s)
        self.last, self.num_steps = (done, now_s), total
        return True

    @property
    def step_s(self) -> float | None:
        """Seconds of one step, by this job's own reports."""
        if self.first is None or self.last is None or self.last[0] <= self.first[0]:
            return None
        return (self.last[1] - self.first[1]) / (self.last[0] - self.first[0])

    def remaining_s(self, now_s: float, *, whole_s: float, tail_s: float) -> float:
        """Seconds until its end: of `whole_s` by estimate until two steps are reported, `tail_s` after the last."""
        if self.last is None or self.num_steps is None or self.step_s is None:
            return max(0.0, whole_s - (now_s - self.begun_s))
        since_s = now_s - self.last[1]
        return max(0.0, (self.num_steps - self.last[0]) * self.step_s + tail_s - since_s)

    @property
    def share_done(self) -> float:
        """Of its steps, between 0 and 1."""
        return self.last[0] / self.num_steps if self.last is not None and self.num_steps else 0.0


@dataclass(slots=True, kw_only=True, eq=False)
class Entry:
    """A job that has not ended.

    Args:
        clip_id: the job's, which takes it a while to tell.
        seconds: of one gang, as estimated when it came.
        ticket: of its item in the heap; None where it has none that counts.
        is_returned: a renderer had it and lost it: it goes before all others of its sharer.
        charged: what its sharer was charged when it was first handed out.
        is_answerable: its clip was made while it waited for that.
    """

    job: Job
    clip_id: str
    seconds: float
    version: int = 0
    place: Place = "queued"
    ticket: int | None = None
    is_returned: bool = False
    charged: float | None = None
    is_cancelling: bool = False
    is_answerable: bool = False
    run: Run | None = None

    @property
    def sharer(self) -> Sharer:
        """Who is charged for it: its key, or all that came without one to its project."""
        return self.job.project, self.job.key_id or ""

    def price(self, num_ranks: int) -> float:
        """What its sharer is charged for it: the device-seconds of a gang of so many, over its key's weight."""
        return self.seconds * num_ranks / (self.job.weight or 1.0)

    @property
    def rank(self) -> tuple[bool, int, float, str]:
        """Its place within its project: the lowest is next."""
        return (not self.is_returned, -self.job.priority, self.job.created_at, self.job.id)
