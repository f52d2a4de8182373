"""What people tell a run lies in its output: the newest command counts, on every storage, whoever speaks at once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from farm.control import Action, give_command, newest_command, refuse_if_cancelled, standing_stop
from farm.errors import UsageError
from farm.storage import Storage

RUN = "0123456789abcdef"


def test_the_newest_command_counts(storage: Storage) -> None:
    assert newest_command(storage, RUN) is None
    assert standing_stop(storage, RUN) is None
    for action in ("pause", "resume", "cancel"):
        given = give_command(storage, RUN, action, by="ann@here")
        assert newest_command(storage, RUN) == given
        assert standing_stop(storage, RUN) == (None if action == "resume" else given)
    assert standing_stop(storage, "another") is None
    names = sorted(storage.names(f"control/{RUN}"))
    assert names == [f"control/{RUN}/{number:06d}.json" for number in (1, 2, 3)]


def test_a_cancelled_run_says_who_when_and_what_lifts_it(storage: Storage) -> None:
    refuse_if_cancelled(storage, RUN)
    give_command(storage, RUN, "pause", by="ann@here")
    refuse_if_cancelled(storage, RUN)
    given = give_command(storage, RUN, "cancel", by="ben@there")
    with pytest.raises(UsageError, match=rf"cancelled by ben@there at {given.at[:10]}.*wanfarm resume \S+ --run {RUN}"):
        refuse_if_cancelled(storage, RUN)
    give_command(storage, RUN, "resume", by="ann@here")
    refuse_if_cancelled(storage, RUN)


def test_of_commands_at_once_each_gets_its_number(durable_storage: Storage) -> None:
    actions: list[Action] = ["pause", "resume", "cancel", "resume"] * 2

    def give(action: Action) -> str:
        return give_command(durable_storage, RUN, action, by="ann@here").nonce

    with ThreadPoolExecutor(len(actions)) as pool:
        nonces = list(pool.map(give, actions))
    assert len(set(nonces)) == len(actions)
    assert len(list(durable_storage.names(f"control/{RUN}"))) == len(actions)
    newest = newest_command(durable_storage, RUN)
    assert newest is not None
    assert newest.nonce in nonces


def test_what_a_later_version_adds_is_read_over(storage: Storage) -> None:
    storage.create(
        f"control/{RUN}/000001.json", b'{"action": "pause", "by": "a@b", "at": "2030-01-01", "nonce": "n", "why": "?"}'
    )
    storage.create(f"control/{RUN}/notes.txt", b"")
    assert str(standing_stop(storage, RUN)) == "paused by a@b at 2030-01-01"
