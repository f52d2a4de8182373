"""`wanfarm pause`, `resume` and `cancel`: a word to whoever drives a run, now or later."""

from __future__ import annotations

import getpass
import os
import shlex
import socket
import time
from contextlib import suppress

from farm.control import Action, Command, give_command, standing_stop
from farm.errors import RunHeldError, UsageError
from farm.ledger import RunLease
from farm.run_facts import RunCard, read_cards
from farm.settings import Settings
from farm.storage import Storage
from jobs.opening import existing_output
from jobs.printing import say
from jobs.running import finish_run


def control_run(out_uri: str, action: Action, *, run_id: str | None) -> int:
    """0. UsageError where it is not clear which run is meant, or a cancelled run is to be paused."""
    settings = Settings.from_env()
    out = existing_output(out_uri, settings)
    card = chosen_card(out, run_id)
    stop = standing_stop(out, card.run_id)
    if is_said(action, stop):
        say([f"run {card.run_id} is {'not stopped' if stop is None else f'{stop} already'}"])
        return 0
    if action == "pause" and stop is not None:
        raise UsageError(f"run {card.run_id} was {stop}; there is nothing to pause")
    command = give_command(out, card.run_id, action, by=whoami())
    say([f"run {card.run_id}: {command}", _what_follows(out, card, command)])
    if action == "cancel":
        _settle(out, card, settings)
    return 0


def is_said(action: Action, stop: Command | None) -> bool:
    """Whether a run that `stop` holds (None: none does) needs no further word for that."""
    return action == "resume" if stop is None else action == stop.action


def whoami() -> str:
    """user@host."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"


def chosen_card(out: Storage, run_id: str | None) -> RunCard:
    """The run of that id, or the only one. UsageError naming those there are."""
    cards = list(read_cards(out))
    chosen = [card for card in cards if run_id in (None, card.run_id)]
    if len(chosen) == 1:
        return chosen[0]
    runs = "; ".join(f"{card.run_id} ({card.manifest_uri})" for card in cards) or "none"
    if run_id is None and cards:
        raise UsageError(f"{out.uri} has {len(cards)} runs, say --run ID for one of them: {runs}")
    raise UsageError(f"{out.uri} has no run {run_id or 'yet'}; runs: {runs}")


def _what_follows(out: Storage, card: RunCard, command: Command) -> str:
    lift = f"wanfarm resume {shlex.quote(out.uri)} --run {card.run_id}"
    is_driven = RunLease(out, card.run_id).held_by() is not None
    if command.action == "resume":
        return "its driver goes on" if is_driven else "render it again to go on"
    if command.action == "pause":
        return f"clips in work are put down at their next step; to go on: {lift}"
    return f"what is rendered stays; to lift this: {lift}"


def _settle(out: Storage, card: RunCard, settings: Settings) -> None:
    """Write results and report of a cancelled run that nobody drives; a driver does it itself."""
    with suppress(RunHeldError), RunLease(out, card.run_id):
        finish_run(out, card, settings=settings, begun_s=time.monotonic())
