"""What the service refuses, and why: the one tree behind every error answer of the API.

ServiceError                 `status` is the HTTP status that says the same
├── UnreadableError          400  the body is no JSON object or form
├── UnauthenticatedError     401  no key, or one that is not (or no longer) valid
├── ForbiddenError           403  the key may not do this, or the page that asks is not ours
├── MissingError             404  no such thing, or another project's
├── ConflictError            409  not now: the video is not finished, the idempotency key was used otherwise
├── TooLargeError            413  more bytes than are taken
├── UnsupportedTypeError     415  a body of another kind
├── RangeError               416  bytes beyond the file's end
├── InvalidError             422  faults of fields, all of them at once
├── LimitedError             429  no room now; `retry_after_s` is when there is
└── AwayError                503  the storage cannot be reached, or what is needed goes in this moment
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One thing that is wrong with a request. `field` as the client wrote it, `advice` is what to do about it."""

    message: str
    field: str | None = None
    code: str = "invalid_value"
    advice: str | None = None


class ServiceError(Exception):
    """Base of all: a code for programs, a message for people, the field at fault and what to do."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal_error"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        field: str | None = None,
        advice: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.fault = Fault(message=message, field=field, code=code or type(self).code, advice=advice)
        self.faults: tuple[Fault, ...] = (self.fault,)
        self.retry_after_s = retry_after_s


class UnreadableError(ServiceError):
    status, code = 400, "unreadable_body"


class UnauthenticatedError(ServiceError):
    status, code = 401, "invalid_api_key"


class ForbiddenError(ServiceError):
    status, code = 403, "forbidden"


class MissingError(ServiceError):
    status, code = 404, "not_found"


class ConflictError(ServiceError):
    status, code = 409, "conflict"


class TooLargeError(ServiceError):
    status, code = 413, "too_large"


class UnsupportedTypeError(ServiceError):
    status, code = 415, "unsupported_media_type"


class RangeError(ServiceError):
    """`size_bytes` is what there is."""

    status, code = 416, "range_not_satisfiable"

    def __init__(self, message: str, *, size_bytes: int) -> None:
        super().__init__(message)
        self.size_bytes = size_bytes


class InvalidError(ServiceError):
    """The first fault speaks for all; `faults` has every one."""

    status, code = 422, "invalid_value"

    def __init__(self, faults: Sequence[Fault]) -> None:
        first = faults[0]
        super().__init__(first.message, code=first.code, field=first.field, advice=first.advice)
        self.faults = tuple(faults)


class LimitedError(ServiceError):
    status, code = 429, "rate_limited"


class AwayError(ServiceError):
    status, code = 503, "storage_unavailable"
