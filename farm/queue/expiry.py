"""When a job that has ended may go."""

from __future__ import annotations

from dataclasses import dataclass

from farm.queue.job import Job, Status


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """How long jobs stay after their end where they were not asked for otherwise; None: until someone removes them.

    Args:
        completed_s: of those that have a clip.
        failed_s: of failed and cancelled ones.
    """

    completed_s: float | None = None
    failed_s: float | None = None

    def expires_at(self, job: Job, status: Status, *, ended_at: float) -> float | None:
        """When it may go, in seconds since the epoch; None: never by itself."""
        if job.is_pinned:
            return None
        usual_s = self.completed_s if status == "completed" else self.failed_s
        ttl_s = usual_s if job.ttl_s is None else job.ttl_s
        return None if ttl_s is None else ended_at + ttl_s
