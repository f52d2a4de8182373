"""An online job: what was asked for, and how far it is. Both lie in the storage as JSON (see `farm.queue.store`)."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from farm.provenance import Record
from farm.queue.ids import PROJECT_PATTERN
from farm.spec import ClipSpec

Status = Literal["queued", "in_progress", "completed", "failed", "cancelled"]

# No state follows one of these.
ENDS: frozenset[Status] = frozenset({"completed", "failed", "cancelled"})

MIN_PRIORITY, MAX_PRIORITY = -100, 100

# What a newer release adds is kept: during an upgrade two of them work on one output.
_STORED = ConfigDict(frozen=True, extra="allow", protected_namespaces=(), allow_inf_nan=False)


class Job(BaseModel):
    """A request that was accepted. It never changes; what becomes of it are its states.

    Args:
        id: see `farm.queue.ids`.
        key_id: of the API key that it came with, None where no keys are asked for.
        created_at: seconds since the epoch, by the storage's clock.
        spec: whole: no default is looked up after the submission.
        model: name of the model's card; the spec has only the fingerprint of its weights.
        priority: -100 to 100; higher goes first among its key's.
        weight: of its key, None for 1; the key is charged so many times less for it.
        device_seconds: estimated at submission for a gang of one; None where nothing was measured yet.
        is_seed_given: whether the client chose the seed, so that an equal clip may answer the request.
        remixed_from, extends: the job that this one was derived from.
        ttl_s: how long after its end the job may be removed; None: as is usual (`farm.queue.expiry`).
        is_pinned: never removed for its age.
        warnings: the model card's advice that the request goes against.
        asked: the request's own words where the spec has others (size, seconds), to be given back.
        idempotency: hash of the idempotency key, set by the store.
    """

    model_config = _STORED

    id: str
    project: str = Field(pattern=PROJECT_PATTERN)
    key_id: str | None = None
    created_at: float
    spec: ClipSpec
    model: str
    priority: int = Field(default=0, ge=MIN_PRIORITY, le=MAX_PRIORITY)
    weight: float | None = Field(default=None, gt=0)
    tags: dict[str, str] = Field(default_factory=dict)
    device_seconds: float | None = None
    is_seed_given: bool = False
    remixed_from: str | None = None
    extends: str | None = None
    ttl_s: int | None = Field(default=None, ge=0)
    is_pinned: bool = False
    warnings: tuple[str, ...] = ()
    asked: dict[str, Any] = Field(default_factory=dict)
    idempotency: str | None = None

    @property
    def clip_id(self) -> str:
        """The clip that answers it; several jobs may have one."""
        return self.spec.clip_id

    def to_json(self) -> bytes:
        """The file's content. The same job is the same bytes."""
        return self.model_dump_json(exclude_none=True).encode()

    @classmethod
    def from_json(cls, data: str | bytes) -> Job:
        """The inverse of `to_json`; raises pydantic.ValidationError."""
        return cls.model_validate_json(data)


class JobFault(BaseModel):
    """Why a job failed, in the shape in which the API tells errors.

    Args:
        code: in snake case, for programs.
        field: of the request, where one is to blame.
        advice: what the client can do.
    """

    model_config = _STORED

    code: str
    message: str
    field: str | None = None
    advice: str | None = None


class JobState(BaseModel):
    """One state of a job; the one with the highest number counts.

    Args:
        seq: 1, 2 ...; 0 is the state of a job that nobody has touched, which is written nowhere.
        epoch: of the lease under which it was written; 0 before the first.
        at: seconds since the epoch, by the storage's clock.
        by: who wrote it, host:pid or a name.
        step, num_steps: how far the clip was then, where that is known.
        from_ledger: the clip was there already; nothing was rendered for this job.
        device_seconds, cost, attempts: what the job took, with its end. Of the cost the currency is the settings'.
        nonce: makes each state's bytes its own, so that of two at once one is refused its number.
    """

    model_config = _STORED

    seq: int = Field(ge=0)
    epoch: int = Field(ge=0)
    status: Status
    at: float
    by: str
    error: JobFault | None = None
    step: int | None = None
    num_steps: int | None = None
    from_ledger: bool = False
    device_seconds: float | None = None
    cost: float | None = None
    attempts: int | None = None
    nonce: str = Field(default_factory=lambda: uuid.uuid4().hex)

    @property
    def is_end(self) -> bool:
        """Whether nothing will follow."""
        return self.status in ENDS

    def to_json(self) -> bytes:
        """The file's content."""
        return self.model_dump_json(exclude_none=True).encode()

    @classmethod
    def from_json(cls, data: str | bytes) -> JobState:
        """The inverse of `to_json`; raises pydantic.ValidationError."""
        return cls.model_validate_json(data)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobView:
    """All that is known of a job. `record` is its clip's, None unless it is completed."""

    job: Job
    state: JobState
    record: Record | None = None
