"""What an S3 failure means: a lost race, a passing fault, or an error to explain."""

from __future__ import annotations

import errno
from collections.abc import Sequence

import aiohttp
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError, NoCredentialsError
from botocore.exceptions import ConnectionError as ClientConnectionError

from farm.errors import NotFoundError, StorageError, StorageUnavailableError

# All that the client raises for what happens outside this process.
CLIENT_ERRORS = (OSError, BotoCoreError, ClientError, aiohttp.ClientError)

_PASSING_ERRORS = (HTTPClientError, ClientConnectionError, aiohttp.ClientError, ConnectionError, TimeoutError)
_PASSING_STATUS = frozenset({408, 429, 500, 502, 503, 504})
_PASSING_CODES = frozenset({"SlowDown", "RequestTimeout", "InternalError", "ServiceUnavailable", "Throttling"})
_CONFLICT_STATUS = frozenset({409, 412})

_ADVICE = {
    401: "check the credentials",
    403: "check the credentials and what they are allowed to do in this bucket",
    301: "the bucket lies in another region: set AWS_REGION",
    404: "check the name of the bucket and the endpoint",
}


def is_conflict(error: Exception) -> bool:
    """Whether a create-only PUT was refused since something is there or just arriving.

    s3fs says FileExistsError only to AWS' own wording of 412; to others EINVAL, which may have other causes too.
    """
    status = _status_of(error)
    if status is not None:
        return status in _CONFLICT_STATUS
    return isinstance(error, FileExistsError) or (isinstance(error, OSError) and error.errno == errno.EINVAL)


def is_missing(error: Exception) -> bool:
    """Whether the object (or the whole bucket) is not there."""
    return _status_of(error) == 404 or isinstance(error, FileNotFoundError)


def is_transient(error: Exception) -> bool:
    """Whether the same call may succeed in a moment; so too a conflict in which nobody has won yet."""
    if isinstance(error, StorageError):
        return False
    status = _status_of(error)
    if status is not None:
        return status in _PASSING_STATUS | _CONFLICT_STATUS or _code_of(error) in _PASSING_CODES
    return isinstance(error, _PASSING_ERRORS)


def explained(error: Exception, *, action: str, where: str, secrets: Sequence[str]) -> StorageError:
    """The farm's error for a client's: class by what it means, text without credentials."""
    status = _status_of(error)
    kind: type[StorageError] = StorageError
    if is_missing(error) and _code_of(error) != "NoSuchBucket":
        kind = NotFoundError
    elif is_transient(error):
        kind = StorageUnavailableError
    return kind(action, where, _without(secrets, _reason(error)), status, _advice(error, status))


def _advice(error: Exception, status: int | None) -> str:
    if isinstance(error, NoCredentialsError):
        return "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give the machine a role"
    if status is None and is_transient(error):
        return "check the network and the endpoint (AWS_ENDPOINT_URL)"
    return _ADVICE.get(status or 0, "")


def _reason(error: Exception) -> str:
    cause = _client_error(error)
    if cause is not None:
        details = cause.response.get("Error", {})
        return f"{details.get('Code', '')} {details.get('Message', '')}".strip()
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) if isinstance(error, BotoCoreError | OSError) else f"{type(error).__name__}: {error}"


def _without(secrets: Sequence[str], text: str) -> str:
    for secret in secrets:
        text = text.replace(secret, "***")
    return text


def _client_error(error: BaseException | None) -> ClientError | None:
    while error is not None and not isinstance(error, ClientError):
        error = error.__cause__
    return error


def _status_of(error: Exception) -> int | None:
    cause = _client_error(error)
    if cause is None:
        return None
    status = cause.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    return status if isinstance(status, int) else None


def _code_of(error: Exception) -> str:
    cause = _client_error(error)
    return str(cause.response.get("Error", {}).get("Code", "")) if cause is not None else ""
