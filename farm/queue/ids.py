"""Names of jobs: sorted by time, unique without asking anyone, and telling whose they are without being read.

`video_` and 26 characters of Crockford's base32 in lower case: 10 of milliseconds since the epoch (as in a ULID), 4 of
the project's hash, 12 (60 bits) of chance. The project's four let a listing of a million open jobs be cut down to one
project's by name alone; two projects may share them, so whoever must know reads the job.
"""

from __future__ import annotations

import hashlib
import re
import secrets

PREFIX = "video_"

# A project is part of paths: no dot, no slash, no capital (some file systems can't tell those apart).
PROJECT_PATTERN = r"^[a-z0-9][a-z0-9_-]{0,62}$"

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
# A name that says it was made after the year 9775 was not: no calendar here goes on for much longer.
_JOB_ID = re.compile(rf"{PREFIX}[0-6][{_ALPHABET}]{{25}}")
_TIME_CHARS, _PROJECT_CHARS, _CHANCE_BITS = 10, 4, 60


def new_job_id(project: str, *, now_s: float) -> str:
    """A name for a job of this project that is submitted now. `now_s` is the storage's time in seconds."""
    time_ms = max(0, min(round(now_s * 1000), 2**48 - 1))
    chance = secrets.randbits(_CHANCE_BITS)
    return f"{PREFIX}{_encode(time_ms, _TIME_CHARS)}{project_tag(project)}{_encode(chance, _CHANCE_BITS // 5)}"


def is_job_id(text: str) -> bool:
    """Whether a text from outside may be one, and thus be part of a path."""
    return _JOB_ID.fullmatch(text) is not None


def created_at(job_id: str) -> float:
    """When the name was made, in seconds since the epoch."""
    start = len(PREFIX)
    return _decode(job_id[start : start + _TIME_CHARS]) / 1000


def project_tag(project: str) -> str:
    """What all names of a project's jobs have in common."""
    digest = hashlib.sha256(project.encode()).digest()
    return _encode(int.from_bytes(digest[:4], "big") >> (32 - 5 * _PROJECT_CHARS), _PROJECT_CHARS)


def has_tag(job_id: str, tag: str) -> bool:
    """Whether the job may be of the project with that tag."""
    return job_id.startswith(tag, len(PREFIX) + _TIME_CHARS)


def _encode(number: int, num_chars: int) -> str:
    chars = []
    for _ in range(num_chars):
        number, digit = divmod(number, 32)
        chars.append(_ALPHABET[digit])
    return "".join(reversed(chars))


def _decode(text: str) -> int:
    number = 0
    for char in text:
        number = 32 * number + _ALPHABET.index(char)
    return number
