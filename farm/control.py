"""What people tell a run: pause, resume, cancel. The newest of their commands counts.

OUT/control/<run_id>/<seq:06d>.json is put create-only by whoever says something: each command is the next number, and
of two at once one comes second. Nothing is ever removed there, so it is the run's history too.
"""

from __future__ import annotations

import shlex
import uuid
from contextlib import suppress
from datetime import UTC, datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from farm.errors import AlreadyExistsError, UsageError
from farm.storage.base import Storage

CONTROL = "control"

Action = Literal["pause", "resume", "cancel"]

# What a run is after each of them, as people are told.
_STATES: dict[Action, str] = {"pause": "paused", "resume": "resumed", "cancel": "cancelled"}


class Command(BaseModel):
    """One command as it lies in the storage.

    Args:
        by: who gave it, user@host.
        at: when, in ISO 8601 (UTC), by the storage's clock.
        nonce: makes each command's bytes its own, so that of two at once one is refused its number.
    """

    model_config = ConfigDict(frozen=True, extra="allow")

    action: Action
    by: str
    at: str
    nonce: str = Field(default_factory=lambda: uuid.uuid4().hex)

    @property
    def is_stop(self) -> bool:
        """Whether a driver that reads this begins no clip."""
        return self.action != "resume"

    @property
    def state(self) -> str:
        """What it makes of the run, in a word."""
        return _STATES[self.action]

    def __str__(self) -> str:
        return f"{self.state} by {self.by} at {self.at}"


def give_command(storage: Storage, run_id: str, action: Action, *, by: str) -> Command:
    """Put a command behind all that were given before."""
    at = datetime.fromtimestamp(storage.now(), UTC).isoformat(timespec="seconds")
    command = Command(action=action, by=by, at=at)
    data = (command.model_dump_json(indent=1) + "\n").encode()
    while True:
        with suppress(AlreadyExistsError):  # another was quicker; ours is the newer one
            storage.create(_path(run_id, _newest_number(storage, run_id) + 1), data)
            return command


def newest_command(storage: Storage, run_id: str) -> Command | None:
    """The command that counts, None where none was ever given."""
    number = _newest_number(storage, run_id)
    return Command.model_validate_json(storage.read(_path(run_id, number))) if number else None


def standing_stop(storage: Storage, run_id: str) -> Command | None:
    """The pause or cancel that holds now, None where the run may go on."""
    command = newest_command(storage, run_id)
    return command if command is not None and command.is_stop else None


def refuse_if_cancelled(storage: Storage, run_id: str) -> None:
    """UsageError where the run was cancelled: who, when, and how to lift it."""
    stop = standing_stop(storage, run_id)
    if stop is not None and stop.action == "cancel":
        again = f"wanfarm resume {shlex.quote(storage.uri)} --run {run_id}"
        raise UsageError(f"run {run_id} was {stop}; what lifts that: {again}")


def _newest_number(storage: Storage, run_id: str) -> int:
    numbers = (path.rsplit("/", 1)[-1].removesuffix(".json") for path in storage.names(_folder(run_id)))
    return max((int(number) for number in numbers if number.isdigit()), default=0)


def _folder(run_id: str) -> str:
    return f"{CONTROL}/{run_id}"


def _path(run_id: str, number: int) -> str:
    return f"{_folder(run_id)}/{number:06d}.json"
