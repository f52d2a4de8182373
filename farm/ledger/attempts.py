"""How often a clip failed through its own fault, counted where lost drivers and nodes can't lose it.

Only faults inside the rendering process without a new checkpoint are to be noted; drains and lost nodes are not.
"""

from __future__ import annotations

import json
import uuid

from farm.errors import AlreadyExistsError
from farm.layout import attempts_folder
from farm.storage.base import Storage


def count_attempts(storage: Storage, clip_id: str) -> int:
    """Faults noted so far."""
    return max((_number_of(path) for path in storage.names(attempts_folder(clip_id))), default=0)


def note_attempt(storage: Storage, clip_id: str, *, reason: str, worker: str) -> int:
    """Note a fault and return its number, from 1; two at once get two numbers."""
    note = {"reason": reason, "worker": worker, "nonce": uuid.uuid4().hex}
    number = count_attempts(storage, clip_id)
    while True:
        number += 1
        try:
            storage.create(f"{attempts_folder(clip_id)}/{number}.json", json.dumps(note).encode())
        except AlreadyExistsError:
            continue
        return number


def clear_attempts(storage: Storage, clip_id: str) -> None:
    """Start counting anew, as a retry by hand does."""
    for path in list(storage.names(attempts_folder(clip_id))):
        storage.delete(path)


def _number_of(path: str) -> int:
    return int(path.rsplit("/", 1)[-1].removesuffix(".json"))
