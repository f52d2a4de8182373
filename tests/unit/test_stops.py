"""How a driver hears of pauses and cancellations, and how it waits."""

from __future__ import annotations

import threading
import uuid
from pathlib import Path

import pytest

from farm.control import give_command
from farm.errors import StorageUnavailableError, UsageError
from farm.run_facts import RunCard, write_card
from farm.storage import LocalStorage, MemoryStorage
from jobs import control
from jobs.stops import ControlWatch

RUN = "0123456789abcdef"
SOON_S = 30.0


def out_of_memory() -> MemoryStorage:
    return MemoryStorage(uuid.uuid4().hex)


def await_stop(watch: ControlWatch, *, is_paused: bool) -> None:
    event = threading.Event()
    for _ in range(int(SOON_S / 0.01)):
        if watch.is_paused == is_paused:
            return
        event.wait(0.01)
    raise AssertionError(f"paused is not {is_paused} after {SOON_S} s")


def test_a_watch_hears_what_is_said_and_keeps_it_while_the_storage_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    out = out_of_memory()
    with ControlWatch(out, RUN, poll_s=0.01) as watch:
        assert watch.stop is None
        give_command(out, RUN, "pause", by="ann@here")
        await_stop(watch, is_paused=True)
        with monkeypatch.context() as patch:
            asked = threading.Event()

            def away(folder: str = "") -> list[str]:
                asked.set()
                raise StorageUnavailableError("list", folder)

            patch.setattr(out, "names", away)
            assert asked.wait(SOON_S)
            assert watch.is_paused
        give_command(out, RUN, "cancel", by="ann@here")
        await_stop(watch, is_paused=False)
        assert watch.is_cancelled


def test_waiting_ends_with_the_pause_and_can_be_ended() -> None:
    out, notes, checks = out_of_memory(), list[str](), 0
    give_command(out, RUN, "pause", by="ann@here")

    def check() -> None:
        nonlocal checks
        checks += 1
        if checks == 2:
            give_command(out, RUN, "resume", by="ben@there")

    with ControlWatch(out, RUN, poll_s=0.01) as watch:
        watch.wait_while_paused(note=notes.append, check=check)
    assert checks >= 2
    assert "paused by ann@here" in notes[0]
    assert f"wanfarm resume {out.uri} --run {RUN}" in notes[0]
    assert notes[1:] == ["resumed"]

    give_command(out, RUN, "pause", by="ann@here")
    with ControlWatch(out, RUN, poll_s=0.01) as watch, pytest.raises(ZeroDivisionError):
        watch.wait_while_paused(note=notes.append, check=lambda: 1 // 0)  # type: ignore[arg-type, return-value]


def card(run_id: str) -> RunCard:
    return RunCard(
        run_id=run_id,
        manifest_uri=f"/m/{run_id}.parquet",
        manifest_sha256="s",
        model_name="nano",
        model_path="/m",
        model_fingerprint="f",
        num_rows=1,
        num_rejected=0,
        num_clips=1,
    )


def test_commands_say_which_runs_there_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = LocalStorage(tmp_path)
    write_card(out, card("aaaa"))
    assert control.control_run(str(tmp_path), "pause", run_id=None) == 0
    assert f"run aaaa: paused by {control.whoami()}" in capsys.readouterr().out
    write_card(out, card("bbbb"))
    with pytest.raises(UsageError, match=r"2 runs, say --run.*aaaa \(/m/aaaa.parquet\); bbbb"):
        control.control_run(str(tmp_path), "pause", run_id=None)
    with pytest.raises(UsageError, match="no run cccc; runs: aaaa"):
        control.control_run(str(tmp_path), "cancel", run_id="cccc")
    assert control.control_run(str(tmp_path), "pause", run_id="aaaa") == 0
    assert "already" in capsys.readouterr().out
    assert control.control_run(str(tmp_path), "resume", run_id="bbbb") == 0
    assert "bbbb is not stopped" in capsys.readouterr().out
    assert control.control_run(str(tmp_path), "resume", run_id="aaaa") == 0
    assert "render it again" in capsys.readouterr().out
    assert [path.rsplit("/", 2)[1] for path in sorted(out.names("control"))] == ["aaaa", "aaaa"]


def test_a_cancelled_run_is_not_paused(tmp_path: Path) -> None:
    out = LocalStorage(tmp_path)
    write_card(out, card("aaaa"))
    give_command(out, "aaaa", "cancel", by="ann@here")
    with pytest.raises(UsageError, match="cancelled by ann@here"):
        control.control_run(str(tmp_path), "pause", run_id="aaaa")
