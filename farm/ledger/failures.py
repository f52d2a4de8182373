"""Dead letters: clips that were given up, with all that one needs to find out why."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from pydantic import BaseModel, ConfigDict

from farm.errors import NotFoundError
from farm.layout import FAILED, clip_id_of, failed_path
from farm.ledger.parallel import map_in_order
from farm.provenance import Execution
from farm.storage.base import Storage


class DeadLetter(BaseModel):
    """A clip that was given up.

    Args:
        row: the manifest row as it was normalised.
        error_class: name of the error's class, which decides whether a retry can help.
        command: what to type to see it fail again in the foreground.
        failed_at: UTC in ISO 8601.
        execution: how it was rendered at first, before care was taken; None where it never came to that.
    """

    model_config = ConfigDict(frozen=True, extra="allow")

    clip_id: str
    run_id: str
    row: dict[str, Any]
    error_class: str
    message: str
    traceback: str
    attempts: int
    worker: str
    failed_at: str
    command: str
    execution: Execution | None = None


def reproducing_command(out_uri: str, clip_id: str) -> str:
    """The command that renders the clip again here, in the foreground, without Ray."""
    return f"wanfarm retry {shlex.quote(out_uri)} --clip {clip_id} --here"


def write_failure(storage: Storage, letter: DeadLetter) -> None:
    """Give a clip up; a later letter replaces an earlier one."""
    storage.replace(failed_path(letter.clip_id), (letter.model_dump_json(indent=1) + "\n").encode())


def failed_ids(storage: Storage) -> set[str]:
    """The clips given up, by one listing."""
    return {clip_id_of(path) for path in storage.names(FAILED)}


def read_failure(storage: Storage, clip_id: str) -> DeadLetter | None:
    """Why a clip was given up, None if it was not."""
    with suppress(NotFoundError):
        return DeadLetter.model_validate_json(storage.read(failed_path(clip_id)))
    return None


def read_failures(storage: Storage) -> Iterator[DeadLetter]:
    """All dead letters, by clip id."""
    letters = map_in_order(lambda clip_id: read_failure(storage, clip_id), sorted(failed_ids(storage)))
    return (letter for letter in letters if letter is not None)


def clear_failure(storage: Storage, clip_id: str) -> None:
    """Let a clip be rendered again."""
    storage.delete(failed_path(clip_id))
