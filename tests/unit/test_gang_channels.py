"""What ranks get from their leader: devices, threads, and a channel that only they can open."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from dataclasses import replace
from multiprocessing import AuthenticationError, Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from queue import SimpleQueue

import numpy as np
import pytest
from gang_orders import PLAN

from farm.errors import GangStartError, InputError, StorageError
from farm.workers.engine import ModelPlan
from farm.workers.gang.channel import CHUNKS_AHEAD, Channel, Letter
from farm.workers.gang.faults import raised_again, told
from farm.workers.gang.launch import WEIGHTS_PREFIX, Nursery, rank_environment
from farm.workers.gang.messages import Chunk, Gone, Leave, Stepped
from farm.workers.gang.remote import Reception, call_leader

CUDA = ModelPlan(**(PLAN | {"device": "cuda", "threads": 3}))


def environments(plan: ModelPlan, num_ranks: int) -> list[dict[str, str]]:
    return [rank_environment(plan, position=position, num_ranks=num_ranks) for position in range(num_ranks)]


@pytest.mark.parametrize(
    ("visible", "num_ranks", "shares"),
    [
        ("4,5,6,7", 4, ["4", "5", "6", "7"]),
        ("4,5,6,7", 2, ["4,5", "6,7"]),
        ("GPU-ab,GPU-cd", 2, ["GPU-ab", "GPU-cd"]),
        (None, 2, ["0", "1"]),
        (None, 1, [None]),
    ],
)
def test_ranks_share_out_the_devices_of_their_leader(
    monkeypatch: pytest.MonkeyPatch, visible: str | None, num_ranks: int, shares: list[str | None]
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.delenv("HIP_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert [found.get("CUDA_VISIBLE_DEVICES") for found in environments(CUDA, num_ranks)] == shares


def test_the_other_makers_devices_are_shared_out_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("HIP_VISIBLE_DEVICES", "2,3")
    assert [found["HIP_VISIBLE_DEVICES"] for found in environments(CUDA, 2)] == ["2", "3"]


def test_a_rank_has_its_own_threads_and_sees_what_its_leader_imports(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    (found,) = environments(replace(CUDA, device="cpu"), 1)
    assert found["OMP_NUM_THREADS"] == "3"
    assert found["CUDA_VISIBLE_DEVICES"] == ""
    assert os.path.dirname(os.path.dirname(os.path.abspath(__file__))) in found["PYTHONPATH"].split(os.pathsep)  # noqa: PTH100, PTH120


def test_callers_who_know_the_key_are_admitted_in_order() -> None:
    reception, calls = Reception("127.0.0.1"), dict[int, Connection]()

    def call(rank: int) -> None:
        calls[rank] = call_leader(reception.address, key=reception.key, rank=rank)

    callers = [threading.Thread(target=call, args=(rank,)) for rank in (2, 0, 1)]
    for caller in callers:
        caller.start()
    ours = reception.admit(3, timeout_s=30, look=lambda: None)
    for caller in callers:
        caller.join()
    for rank, connection in enumerate(ours):
        calls[rank].send(rank)
        assert connection.recv() == rank
    reception.close()
    for connection in (*ours, *calls.values()):
        connection.close()


def test_strangers_are_turned_away() -> None:
    reception, refused = Reception("127.0.0.1"), list[BaseException]()

    def call() -> None:
        host, _, port = reception.address.rpartition(":")
        socket.create_connection((host, int(port))).close()
        try:
            call_leader(reception.address, key=b"another key", rank=0)
        except (AuthenticationError, OSError, EOFError) as error:
            refused.append(error)

    caller = threading.Thread(target=call)
    caller.start()
    with pytest.raises(GangStartError, match=r"ranks \[0\] did not call within 2 s"):
        reception.admit(1, timeout_s=2, look=lambda: None)
    caller.join()
    reception.close()
    assert len(refused) == 1


def test_waiting_for_callers_ends_when_one_of_them_cannot_come() -> None:
    def look() -> None:
        raise GangStartError("rank 0 ended with code 1")

    reception = Reception("127.0.0.1")
    with pytest.raises(GangStartError, match="ended with code 1"):
        reception.admit(1, timeout_s=60, look=look)
    reception.close()


def test_a_rank_that_decodes_faster_than_its_leader_encodes_has_to_wait() -> None:
    ours, theirs = Pipe()
    inbox = SimpleQueue[Letter]()
    channel = Channel(ours, rank=0, inbox=inbox)  # type: ignore[arg-type]
    chunk, sent = Chunk(frames=np.zeros((4, 256, 256, 3), dtype=np.uint8)), list[int]()

    def decode() -> None:
        for number in range(12):
            theirs.send(chunk)
            sent.append(number)

    rank = threading.Thread(target=decode)
    rank.start()
    time.sleep(0.5)
    assert inbox.qsize() == CHUNKS_AHEAD + 1
    assert len(sent) < 12
    for _ in range(12):
        assert isinstance(inbox.get(timeout=30).message, Chunk)
        channel.taken()
    rank.join()
    channel.close()
    theirs.close()
    assert isinstance(inbox.get(timeout=30).message, Gone)


def test_a_channel_closes_whatever_its_threads_wait_for() -> None:
    ours, theirs = Pipe()
    inbox = SimpleQueue[Letter]()
    channel = Channel(ours, rank=7, inbox=inbox)  # type: ignore[arg-type]
    for _ in range(CHUNKS_AHEAD + 1):
        theirs.send(Chunk(frames=np.zeros((1, 2, 2, 3), dtype=np.uint8)))
    channel.send(Chunk(frames=np.zeros((64, 256, 256, 3), dtype=np.uint8)))  # more than the pipe holds; nobody reads
    channel.send(Leave())
    time.sleep(0.2)
    channel.close()
    letters = [inbox.get(timeout=30) for _ in range(CHUNKS_AHEAD + 2)]
    assert isinstance(letters[-1].message, Gone)
    assert {letter.rank for letter in letters} == {7}
    theirs.close()


def test_what_is_no_message_ends_a_channel() -> None:
    ours, theirs = Pipe()
    inbox = SimpleQueue[Letter]()
    channel = Channel(ours, rank=0, inbox=inbox)  # type: ignore[arg-type]
    theirs.send(Stepped(done=1, total=2))
    theirs.send_bytes(b"not a pickle")
    assert isinstance(inbox.get(timeout=30).message, Stepped)
    assert isinstance(inbox.get(timeout=30).message, Gone)
    channel.close()
    theirs.close()


class Homemade(Exception):
    """Known here alone."""


@pytest.mark.parametrize(
    ("error", "raised", "message"),
    [
        (InputError("too long"), InputError, "too long"),
        (ZeroDivisionError("by zero"), ZeroDivisionError, "by zero"),
        (Homemade("odd"), RuntimeError, "Homemade: odd"),
        (StorageError("put", "path"), RuntimeError, "StorageError: cannot put path"),
        (UnicodeDecodeError("utf-8", b"x", 0, 1, "bad"), RuntimeError, "UnicodeDecodeError"),
    ],
)
def test_an_error_is_raised_again_by_class(error: Exception, raised: type[Exception], message: str) -> None:
    again = raised_again(told(error))
    assert type(again) is raised
    assert message in str(again)
    assert "In the rank:" in again.__notes__[0]


def test_weights_that_ranks_share_leave_no_folder(tmp_path: Path) -> None:
    dead = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], check=True, capture_output=True)
    abandoned = tmp_path / f"{WEIGHTS_PREFIX}{int(dead.stdout)}-xyz"
    others = tmp_path / f"{WEIGHTS_PREFIX}1-xyz"
    abandoned.mkdir()
    others.mkdir()
    nursery = Nursery(folder=tmp_path)
    nursery.share_weights()
    assert nursery.shared_folder is not None
    (nursery.shared_folder / "weights").write_bytes(b"converted")
    assert set(tmp_path.iterdir()) == {others, nursery.shared_folder}
    nursery.loaded()
    assert list(tmp_path.iterdir()) == [others]
    nursery.close()
