"""One driver per run: refusal, renewal, take-over of the dead and the silent, and noticing that one was replaced."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from farm.errors import LeaseLostError, RunHeldError
from farm.ledger import RunLease
from farm.ledger.holder import is_known_dead, this_process
from farm.storage import LocalStorage, MemoryStorage, Storage

DRIVER = """
import sys, time
from farm.ledger import RunLease
from farm.ledger.holder import is_known_dead, this_process
from farm.storage import open_storage
RunLease(open_storage(sys.argv[1]), "r").acquire()
print("held", flush=True)
time.sleep(600)
"""


def start_driver(uri: str) -> subprocess.Popen[str]:
    driver = subprocess.Popen([sys.executable, "-c", DRIVER, uri], stdout=subprocess.PIPE, text=True)
    assert driver.stdout is not None
    assert driver.stdout.readline() == "held\n"
    return driver


def test_second_driver_is_told_who_runs(storage: Storage) -> None:
    with RunLease(storage, "r") as lease:
        assert not lease.is_lost
        with pytest.raises(RunHeldError, match=rf"process {os.getpid()} on .* since 20\d\d-"):
            RunLease(storage, "r").acquire()
        with RunLease(storage, "another"):
            pass


def test_release_frees_at_once(storage: Storage) -> None:
    for epoch in (1, 2, 3):
        with RunLease(storage, "r") as lease:
            assert lease.epoch == epoch


def test_one_of_many_starting_at_once_drives(storage: Storage) -> None:
    start = threading.Barrier(8)
    leases = [RunLease(storage, "r") for _ in range(8)]

    def contend(lease: RunLease) -> bool:
        start.wait()
        try:
            lease.acquire()
        except RunHeldError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(contend, leases)) == 1
    for lease in leases:
        lease.release()


def test_killed_driver_of_this_machine_is_followed_at_once(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path)
    driver = start_driver(storage.uri)
    with pytest.raises(RunHeldError, match=f"process {driver.pid} "):
        RunLease(storage, "r").acquire()
    driver.kill()
    driver.wait()
    before = time.monotonic()
    with RunLease(storage, "r") as lease:
        assert lease.epoch == 2
    assert time.monotonic() - before < 2.0


STOPPED_DRIVER = """
import sys
from farm.ledger import RunLease
from farm.storage import open_storage
lease = RunLease(open_storage(sys.argv[1]), "r", lease_s=2.0)
lease.acquire()
print("held", flush=True)
sys.stdin.readline()
print(lease.is_lost, flush=True)
lease.release()
"""


def test_stopped_driver_loses_its_run_and_notices(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path)
    command = [sys.executable, "-c", STOPPED_DRIVER, storage.uri]
    driver = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert driver.stdin is not None
    assert driver.stdout is not None
    try:
        assert driver.stdout.readline() == "held\n"
        os.kill(driver.pid, signal.SIGSTOP)
        with pytest.raises(RunHeldError):
            RunLease(storage, "r", lease_s=2.0).acquire()
        time.sleep(2.5)
        with RunLease(storage, "r", lease_s=2.0) as successor:
            os.kill(driver.pid, signal.SIGCONT)
            driver.stdin.write("\n")
            driver.stdin.flush()
            assert driver.stdout.readline() == "True\n"
            driver.wait(timeout=30)
            successor._renew()
            successor.check()
    finally:
        driver.kill()
        driver.wait()


def test_driver_of_another_machine_is_followed_when_its_lease_ends() -> None:
    storage = MemoryStorage("elsewhere")
    storage.create(
        "runs/r/lease/00000004.json",
        b'{"host": "elsewhere", "pid": 1, "since_s": 0, "boot_id": "x","started": 1, "pid_namespace": "x"}',
    )
    with pytest.raises(RunHeldError, match="on elsewhere since 1970"):
        RunLease(storage, "r").acquire()
    storage.advance(15.1)
    with RunLease(storage, "r") as lease:
        assert lease.epoch == 5


def test_renewal_outlasts_the_lease(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path)
    with RunLease(storage, "r", lease_s=2.0) as lease:
        time.sleep(3.5)
        lease.check()
        with pytest.raises(RunHeldError):
            RunLease(storage, "r", lease_s=2.0).acquire()


def test_a_holder_that_cannot_renew_stops_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from farm.errors import StorageError

    storage = LocalStorage(tmp_path)
    with RunLease(storage, "r", lease_s=0.6) as lease:

        def fail(*_: object) -> None:
            raise StorageError("replace", "beat", "the network is down")

        monkeypatch.setattr(storage, "replace", fail)
        time.sleep(0.9)
        with pytest.raises(LeaseLostError, match="the network is down"):
            lease.check()


def test_only_what_surely_died_here_is_known_dead() -> None:
    alive = this_process(since_s=0.0)
    assert not is_known_dead(alive)
    assert is_known_dead(alive.model_copy(update={"started": (alive.started or 0) - 1})), "another process got the pid"
    for elsewhere in ({"host": "other"}, {"boot_id": "other"}, {"pid_namespace": "other"}, {"boot_id": None}):
        assert not is_known_dead(alive.model_copy(update={"pid": 2**22 + 1, **elsewhere}))
    assert is_known_dead(alive.model_copy(update={"pid": 2**22 + 1}))


def test_a_driver_that_waits_to_be_reaped_is_dead() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    try:
        assert is_known_dead(this_process(since_s=0.0).model_copy(update={"pid": child.pid, "started": 1}))
    finally:
        child.wait()
