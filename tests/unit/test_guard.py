"""The guard: exit codes of a command whose process ends in every way, signals, and nobody left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

SCRIPT = """
import os, signal, sys, time
from jobs.guard import guarded

def command():
    {body}

sys.exit(guarded(command))
"""
WAITING = """
    seen = []
    signal.signal(signal.SIGINT, lambda number, _: seen.append(number))
    print(os.getpid(), flush=True)
    while not seen:
        time.sleep(0.02)
    time.sleep(0.3)
    print(len(seen), flush=True)
    return 75
"""


def start(body: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT.format(body=body.strip())],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@pytest.mark.parametrize(
    ("body", "code", "said"),
    [
        ("return 0", 0, ""),
        ("return 1", 1, ""),
        ("raise ZeroDivisionError", 1, "ZeroDivisionError"),
        ("os._exit(75)", 75, ""),
        ("os._exit(1)", 75, "wanfarm: Ray is gone, and with it the driver (exit code 1); run the same command again"),
        ("os.kill(os.getpid(), signal.SIGKILL)", 75, "wanfarm: the driver was ended by SIGKILL; run the same command"),
        ("os.abort()", 75, "wanfarm: the driver was ended by SIGABRT; run the same command again"),
    ],
)
def test_exit_code(body: str, code: int, said: str) -> None:
    process = start(body)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == code
    assert said in errors
    assert bool(errors) == bool(said)


@pytest.mark.parametrize("is_for_the_group", [True, False])
def test_a_signal_arrives_once(is_for_the_group: bool) -> None:
    process = start(WAITING)
    assert process.stdout is not None
    process.stdout.readline()
    send = os.killpg if is_for_the_group else os.kill
    send(process.pid, signal.SIGINT)
    output, _ = process.communicate(timeout=30)
    assert output == "1\n"
    assert process.returncode == 75


def test_nobody_outlives_a_killed_guard() -> None:
    process = start(WAITING)
    assert process.stdout is not None
    child = psutil.Process(int(process.stdout.readline()))
    process.kill()
    process.communicate(timeout=30)
    deadline = time.monotonic() + 10
    while child.is_running() and child.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
        time.sleep(0.02)
