"""Idempotency keys: a request that is sent again is the same job.

OUT/idempotency/<hash of project and key>.json is put create-only before the job itself and holds all of it: whoever
comes second finds the job that the first had in mind, and finishes its submission where the first died before that.
"""

from __future__ import annotations

import hashlib

from pydantic import BaseModel, ConfigDict

from farm.errors import IdempotencyConflict, NotFoundError
from farm.layout import idempotency_path
from farm.queue.job import Job
from farm.storage.base import Storage


class IdempotencyKey(BaseModel):
    """A client's key, and what it came with. The key itself is stored nowhere.

    Args:
        digest: of project and key: two projects may choose the same key.
        fingerprint: of the request; the same key with another one is a mistake of the client's.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    digest: str
    fingerprint: str

    @classmethod
    def of(cls, key: str, *, project: str, request: bytes) -> IdempotencyKey:
        """`request` is all that decides what is made, in a form that is the same for the same request."""
        digest = hashlib.sha256(f"{project}\0{key}".encode()).hexdigest()
        return cls(digest=digest, fingerprint=hashlib.sha256(request).hexdigest())

    @property
    def path(self) -> str:
        return idempotency_path(self.digest)


class Submission(BaseModel):
    """What lies under a key's hash."""

    model_config = ConfigDict(frozen=True, extra="allow")

    fingerprint: str
    job: Job

    def to_json(self) -> bytes:
        """The file's content."""
        return self.model_dump_json(exclude_none=True).encode()


def earlier_submission(storage: Storage, key: IdempotencyKey) -> Job | None:
    """The job that the key stands for, None where its submission is gone again.

    Raises:
        IdempotencyConflict: it stands for another request.
    """
    found = read_submission(storage, key.digest)
    if found is None:
        return None
    if found.fingerprint != key.fingerprint:
        raise IdempotencyConflict("this idempotency key came with another request before: use a new key")
    return found.job


def read_submission(storage: Storage, digest: str) -> Submission | None:
    """What was submitted under the key of that hash."""
    try:
        return Submission.model_validate_json(storage.read(idempotency_path(digest)))
    except NotFoundError:
        return None


def forget_submission(storage: Storage, job: Job) -> None:
    """Let the job's key be used anew, unless it has been since."""
    if job.idempotency is None:
        return
    found = read_submission(storage, job.idempotency)
    if found is not None and found.job.id == job.id:
        storage.delete(idempotency_path(job.idempotency))
