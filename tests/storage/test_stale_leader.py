"""A leader that is stopped in the middle of a clip and wakes when the clip is another's: nothing of it counts."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from example_renders import SPEC, job_of, record_of, renderer_of, undisturbed
from scripted_engine import Script, ScriptedEngine

from farm import ledger
from farm.storage import Storage

LOST, OTHERWISE = 7, 8


def stop_here() -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


def start_leader(out: Storage, folder: Path, script: Script, prepare: Callable[[Storage], None] | None = None) -> int:
    """Another process that renders the clip; returns its pid once it has stopped itself."""
    pid = os.fork()
    if pid == 0:
        if prepare is not None:
            prepare(out)
        outcome = renderer_of(out, folder, ScriptedEngine(script)).render(job_of())
        os._exit(LOST if outcome.status == "lost" else OTHERWISE)
    _, status = os.waitpid(pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status), f"it ended with {os.waitstatus_to_exitcode(status)}"
    return pid


def wake(pid: int) -> int:
    """Let it go on to its end: its exit code."""
    os.kill(pid, signal.SIGCONT)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def stop_at_upload(out: Storage) -> None:
    put_file = out.put_file

    def stopping(path: str, local: Path) -> None:
        stop_here()
        put_file(path, local)

    out.put_file = stopping  # type: ignore[method-assign]


def content(out: Storage) -> dict[str, bytes]:
    return {name: out.read(name) for name in out.names()}


@pytest.mark.parametrize("at", [1, 5, "decode"])
def test_it_wakes_after_the_commit(durable_storage: Storage, tmp_path: Path, at: int | str) -> None:
    stale = start_leader(durable_storage, tmp_path / "stale", {at: stop_here})
    heir = ScriptedEngine()
    assert renderer_of(durable_storage, tmp_path / "heir", heir).render(job_of()).status == "committed"
    # Decoding begins when the state before it may still be on its way.
    assert heir.begun_at[0] in {1: [0], 5: [2, 4], "decode": [8, 10]}[at]
    before = content(durable_storage)
    assert wake(stale) == LOST
    assert content(durable_storage) == before
    assert record_of(durable_storage).video == undisturbed(tmp_path).video


def test_it_wakes_while_another_is_at_the_clip(durable_storage: Storage, tmp_path: Path) -> None:
    stale = start_leader(durable_storage, tmp_path / "stale", {5: stop_here})
    heir = ScriptedEngine({6: lambda: codes.append(wake(stale))})
    codes = list[int]()
    assert renderer_of(durable_storage, tmp_path / "heir", heir).render(job_of()).status == "committed"
    assert codes == [LOST]
    assert record_of(durable_storage).video == undisturbed(tmp_path).video
    assert ledger.count_attempts(durable_storage, SPEC.clip_id) == 0


def test_it_wakes_in_the_middle_of_its_own_publication(durable_storage: Storage, tmp_path: Path) -> None:
    stale = start_leader(durable_storage, tmp_path / "stale", {}, prepare=stop_at_upload)
    assert renderer_of(durable_storage, tmp_path / "heir", ScriptedEngine()).render(job_of()).status == "committed"
    before = content(durable_storage)
    assert wake(stale) == LOST
    assert content(durable_storage) == before  # its video bears the same name, as its bytes are the same
