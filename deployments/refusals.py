"""What is said of videos that are not there, by whoever looks for one."""

from __future__ import annotations

from deployments.errors import ConflictError, MissingError


def missing(job_id: str) -> MissingError:
    """No such video, or another project's: the same words for both."""
    return MissingError(f"there is no video {job_id[:60]!r}", code="video_not_found", field="video_id")


def gone(job_id: str) -> MissingError:
    """A finished video whose clip has been deleted."""
    return MissingError(f"the content of {job_id} is gone", code="content_gone")


def reused_key() -> ConflictError:
    """An idempotency key that stands for another request."""
    return ConflictError(
        "this idempotency key came with another request before",
        code="idempotency_key_reused",
        advice="use a new key for a new request",
    )
