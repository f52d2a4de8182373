"""How often a clip failed through its own fault, counted where lost drivers and nodes can't lose it.

Only faults inside the rendering process without a new checkpoint are to be noted; drains and lost nodes are not.
"""

from __future__ import annotations

import uuid

from pydantic import BaseModel, ConfigDict, Field

from farm.errors import AlreadyExistsError
from farm.layout import attempts_folder
from farm.storage.base import Storage


class Attempt(BaseModel):
    """A fault that counts against a clip.

    Args:
        error_class: name of the error's class, which decides how the clip is tried next.
        reason: the error's message.
        trace: its traceback, of the process where it arose.
        at: when, UTC in ISO 8601; older notes do not say.
        nonce: makes each note's bytes its own.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    error_class: str
    reason: str
    trace: str = ""
    worker: str
    at: str | None = None
    nonce: str = Field(default_factory=lambda: uuid.uuid4().hex)


def count_attempts(storage: Storage, clip_id: str) -> int:
    """Faults noted so far."""
    return max((_number_of(path) for path in storage.names(attempts_folder(clip_id))), default=0)


def read_attempts(storage: Storage, clip_id: str) -> list[Attempt]:
    """Faults noted so far, the oldest first; without any, one listing."""
    paths = sorted(storage.names(attempts_folder(clip_id)), key=_number_of)
    return [Attempt.model_validate_json(storage.read(path)) for path in paths]


def note_attempt(storage: Storage, clip_id: str, attempt: Attempt) -> int:
    """Note a fault and return its number, from 1; two at once get two numbers."""
    number = count_attempts(storage, clip_id)
    while True:
        number += 1
        try:
            storage.create(f"{attempts_folder(clip_id)}/{number}.json", attempt.model_dump_json().encode())
        except AlreadyExistsError:
            continue
        return number


def clear_attempts(storage: Storage, clip_id: str) -> None:
    """Start counting anew, as a retry by hand does."""
    for path in list(storage.names(attempts_folder(clip_id))):
        storage.delete(path)


def _number_of(path: str) -> int:
    return int(path.rsplit("/", 1)[-1].removesuffix(".json"))
