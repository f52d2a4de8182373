"""Ranks as processes of this host.

The kernel ends a rank when the thread that started it ends (PR_SET_PDEATHSIG), so one thread starts all of them and
lives as long as whoever needs them.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import IO, Protocol

from farm.errors import GangStartError
from farm.logs import LogSetup, current_setup
from farm.workers.engine import ModelPlan

LOOPBACK = "127.0.0.1"
TAIL_BYTES = 4000
STACKS_BYTES = 16_000
# faulthandler writes a page or two; a stopped process never does.
STACKS_S = 1.0
KILL_S = 30.0
WEIGHTS_PREFIX = "wanfarm-weights-"
_DEVICE_VARIABLES = ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES")
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


class RankSet(Protocol):
    """The processes of one gang, wherever they run."""

    def start(self, *, timeout_s: float) -> list[Connection]:
        """Start them all: a connection each, in the order of ranks. GangStartError."""

    @property
    def host(self) -> str:
        """The address of rank 0's host, as the other ranks reach it."""

    def loaded(self) -> None:
        """All ranks are ready: what they loaded from may go."""

    def fate(self, rank: int) -> str:
        """How a rank's process ended, and its last words."""

    def stacks(self, ranks: Sequence[int]) -> str:
        """Where these ranks are at, as far as they still tell."""

    def wait(self, *, timeout_s: float) -> None:
        """Until all processes have ended by themselves, or the time is up."""

    def stop(self) -> None:
        """Kill what is left; may be started again."""

    def close(self) -> None:
        """Kill what is left, and let go of everything."""


@dataclass(slots=True, kw_only=True)
class RankProcess:
    """One child and the file of its error output, which has no name and so cannot be left behind."""

    rank: int
    process: subprocess.Popen[bytes]
    errors: IO[bytes]
    _asked_at: int = 0

    def fate(self) -> str:
        try:
            code = self.process.wait(timeout=2)
        except subprocess.TimeoutExpired:
            return f"rank {self.rank} (pid {self.process.pid}) closed its channel{self._last_words()}"
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
        return f"rank {self.rank} (pid {self.process.pid}) {how}{self._last_words()}"

    def ask_for_stacks(self) -> None:
        self._asked_at = os.fstat(self.errors.fileno()).st_size
        self.process.send_signal(signal.SIGUSR1)  # nothing where it has ended

    def stacks(self) -> str:
        """What it said since it was asked."""
        said = os.pread(self.errors.fileno(), STACKS_BYTES, self._asked_at).decode(errors="replace").strip()
        return f"rank {self.rank} (pid {self.process.pid}, {self._state()}):\n{said or '(no answer)'}"

    def end(self) -> None:
        self.process.kill()
        with suppress(subprocess.TimeoutExpired):  # a broken device can hold even a killed process
            self.process.wait(timeout=KILL_S)
        self.errors.close()

    def _state(self) -> str:
        try:
            stat = Path(f"/proc/{self.process.pid}/stat").read_text()
        except OSError:
            return "gone"
        return f"state {stat.rpartition(')')[2].split()[0]}"

    def _last_words(self) -> str:
        size = os.fstat(self.errors.fileno()).st_size
        said = os.pread(self.errors.fileno(), TAIL_BYTES, max(0, size - TAIL_BYTES)).decode(errors="replace").strip()
        return f"; its last words:\n{said}" if said else ""


@dataclass(slots=True, kw_only=True)
class Nursery:
    """Starts rank processes from a thread of its own, and keeps them. `folder` is where their output goes."""

    folder: Path
    processes: dict[int, RankProcess] = field(default_factory=dict)
    shared_folder: Path | None = None
    _thread: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "rank-spawner"))

    def spawn(
        self, rank: int, arguments: Sequence[str], *, environment: Mapping[str, str], secret: bytes = b"", fd: int = -1
    ) -> None:
        """Start one rank; `secret` is what it reads from its standard input, `fd` a descriptor that it inherits."""
        logs = current_setup(role="rank", rank=rank)
        start = self._thread.submit(self._spawn, rank, arguments, environment, secret, fd, logs)
        self.processes[rank] = start.result()

    def _spawn(
        self,
        rank: int,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        secret: bytes,
        fd: int,
        logs: LogSetup,
    ) -> RankProcess:
        errors = tempfile.TemporaryFile(dir=self.folder)  # noqa: SIM115 - it lives as long as the process
        command = [sys.executable, "-m", "farm.workers.gang.rank", "--parent", str(os.getpid()), "--rank", str(rank)]
        if self.shared_folder is not None:
            command += ["--shared-folder", str(self.shared_folder)]
        log_fd = os.dup(2)  # what it logs goes where this process's does; its last words are kept apart
        try:
            process = subprocess.Popen(
                [*command, "--logs", logs.to_argument(), "--log-fd", str(log_fd), *arguments],
                env=dict(environment),
                stdin=subprocess.PIPE,
                stdout=errors,
                stderr=errors,
                pass_fds=(fd, log_fd) if fd >= 0 else (log_fd,),
                start_new_session=True,  # Ctrl-C is the leader's to deal with
            )
        finally:
            os.close(log_fd)
        if process.stdin is not None:
            process.stdin.write(secret)
            process.stdin.close()
        return RankProcess(rank=rank, process=process, errors=errors)

    def share_weights(self) -> None:
        """Give the ranks to come a folder for what they convert of the weights, so that a host holds it once."""
        _remove_abandoned(self.folder)
        self.shared_folder = Path(tempfile.mkdtemp(prefix=f"{WEIGHTS_PREFIX}{os.getpid()}-", dir=self.folder))

    def loaded(self) -> None:
        """What is mapped stays; its name may go."""
        if self.shared_folder is not None:
            shutil.rmtree(self.shared_folder, ignore_errors=True)
            self.shared_folder = None

    def wait(self, *, timeout_s: float) -> None:
        """Until all have ended by themselves, or the time is up."""
        deadline_s = time.monotonic() + timeout_s
        for child in self.processes.values():
            try:
                child.process.wait(timeout=max(0.0, deadline_s - time.monotonic()))
            except subprocess.TimeoutExpired:
                return

    def lost(self) -> str | None:
        """How one of them has ended, None while all are up."""
        return next((child.fate() for child in self.processes.values() if child.process.poll() is not None), None)

    def stacks(self, ranks: Sequence[int]) -> str:
        """Where these are at; a second of waiting."""
        children = [self.processes[rank] for rank in ranks]
        for child in children:
            child.ask_for_stacks()
        time.sleep(STACKS_S)
        return "\n".join(child.stacks() for child in children)

    def clear(self) -> None:
        """Kill what is left."""
        while self.processes:
            self.processes.popitem()[1].end()
        self.loaded()

    def close(self) -> None:
        """Kill what is left, and end the thread."""
        self.clear()
        self._thread.shutdown()


class LocalRanks:
    """All ranks of a gang on this host."""

    host = LOOPBACK

    def __init__(self, plan: ModelPlan, *, folder: Path) -> None:
        self._plan = plan
        self._nursery = Nursery(folder=folder)

    def start(self, *, timeout_s: float) -> list[Connection]:
        connections = list[Connection]()
        try:
            if shares_weights(self._plan, num_ranks=self._plan.parallel.degree):
                self._nursery.share_weights()
            for rank in range(self._plan.parallel.degree):
                connections.append(self._start(rank))
        except OSError as error:
            for connection in connections:
                connection.close()
            raise GangStartError(f"rank {len(connections)} could not be started: {error}") from error
        return connections

    def _start(self, rank: int) -> Connection:
        environment = rank_environment(self._plan, position=rank, num_ranks=self._plan.parallel.degree)
        ours, theirs = socket.socketpair()
        with ours, theirs:
            fd = theirs.fileno()
            self._nursery.spawn(rank, ["--fd", str(fd)], environment=environment, fd=fd)
            return Connection(ours.detach())

    def loaded(self) -> None:
        self._nursery.loaded()

    def fate(self, rank: int) -> str:
        return self._nursery.processes[rank].fate()

    def stacks(self, ranks: Sequence[int]) -> str:
        return self._nursery.stacks(ranks)

    def wait(self, *, timeout_s: float) -> None:
        self._nursery.wait(timeout_s=timeout_s)

    def stop(self) -> None:
        self._nursery.clear()

    def close(self) -> None:
        self._nursery.close()


def shares_weights(plan: ModelPlan, *, num_ranks: int) -> bool:
    """Whether that many ranks of a host have weights in common: on CPUs; a device has its own."""
    return num_ranks > 1 and plan.device == "cpu"


def _remove_abandoned(folder: Path) -> None:
    """The folders of processes that were killed while their ranks loaded."""
    for path in folder.glob(f"{WEIGHTS_PREFIX}*"):
        pid = path.name.removeprefix(WEIGHTS_PREFIX).partition("-")[0]
        if not Path("/proc", pid).exists():
            shutil.rmtree(path, ignore_errors=True)


def rank_environment(plan: ModelPlan, *, position: int, num_ranks: int, interface: str = "lo") -> dict[str, str]:
    """The environment of the rank at that position among a host's: its devices, threads, network interface."""
    environment = dict(os.environ) | {name: str(plan.threads) for name in _THREAD_VARIABLES}
    environment["GLOO_SOCKET_IFNAME"] = interface
    environment["PYTHONPATH"] = os.pathsep.join(path or os.curdir for path in sys.path)
    if plan.device.startswith("cuda"):
        environment |= _devices(environment, position=position, num_ranks=num_ranks)
    return environment


def _devices(environment: Mapping[str, str], *, position: int, num_ranks: int) -> dict[str, str]:
    """This rank's share of the devices that its leader sees, under the same names."""
    names = [name for name in _DEVICE_VARIABLES if name in environment]
    if not names:
        return {_DEVICE_VARIABLES[0]: str(position)} if num_ranks > 1 else {}
    shares = {}
    for name in names:
        visible = [device for device in environment[name].split(",") if device]
        size = max(1, len(visible) // num_ranks)
        shares[name] = ",".join(visible[position * size : (position + 1) * size])
    return shares
