"""A Ray session for one run: a private cluster that dies with this process, or a seat in an existing one."""

from __future__ import annotations

import os
import shutil
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn, TextIO

from farm.errors import Interrupted, OutputError, UsageError
from jobs.fleet import POOL_LABEL, TEXT_POOL, Machine, this_machine
from jobs.processes import children, end_users_of, is_living
from jobs.signals import AGAIN
from jobs.summoning import summon
from jobs.worker_logs import forwarded

# Rows with text states are all that passes through it: 8 MiB each at most, some dozens at a time.
OBJECT_STORE_BYTES = 512 * 2**20
SHUTDOWN_S = 20.0
CONNECT_S = 10.0
START_TRIES = 2
VITAL = ("gcs_server", "raylet")

# Ray notices by itself after 60 s that its head is gone, and then ends this process in its own way.
CHECK_EVERY_S = 2.0
DEAD_AFTER_S = 20.0

FOLDER_PREFIX = "wanfarm-ray-"
MAX_ROOT_CHARS = 40  # Unix sockets below it may have 107


class RayLostError(Interrupted):
    """Ray died, or stays away, while this driver lives."""


class Session:
    """What the driver knows of its cluster."""

    def __init__(self, machine: Machine, *, vital: frozenset[int] = frozenset()) -> None:
        self.machine = machine
        self._vital = vital
        self.is_lost = False
        self._seen_s = time.monotonic()
        self._is_node_dead = False
        threading.Thread(target=self._watch, name="ray-health", daemon=True).start()

    def check(self) -> None:
        """Raise RayLostError when the cluster has not answered for 20 s, or says that this node is dead.

        A local one is lost as soon as one of its two `vital` processes is. Ray's core may be quicker: see `jobs.guard`.
        """
        is_silent = time.monotonic() - self._seen_s > DEAD_AFTER_S
        if self._is_node_dead or is_silent or not all(map(is_living, self._vital)):
            self.is_lost = True
            raise RayLostError(f"Ray is gone; {AGAIN}")

    def summon(self, num_gpus: int, *, note: Callable[[str], None]) -> None:
        """Have `machine` be the cluster with that many GPUs, once its autoscaler has brought them."""
        import ray

        self.machine = summon(num_gpus, look=lambda: _machine_of(ray.nodes()), check=self.check, note=note)

    def _watch(self) -> None:
        """A thread of its own: calls to a dead cluster hang, and then the time it was last seen grows old."""
        import ray

        here = ray.get_runtime_context().get_node_id()
        while ray.is_initialized():
            with suppress(Exception):  # whatever it is, it is not an answer
                nodes = {node["NodeID"]: node["Alive"] for node in ray.nodes()}
                if not nodes.get(here, False):
                    self._is_node_dead = True
                    return
                self._seen_s = time.monotonic()
            time.sleep(CHECK_EVERY_S)


@contextmanager
def ray_session(address: str | None, *, metrics_port: int | None = None) -> Iterator[Session]:
    """Ray for as long as the block lasts. A local cluster's processes die with this one, however it ends.

    Such a cluster's agent exports metrics at that port, at any where it is None.

    UsageError where there is no cluster at `address`.
    """
    if address is None:
        with _local_folder() as folder, _native_stderr_to(folder / "driver.err"), forwarded(folder):
            with _closing(_start_local(folder, metrics_port)) as session:
                yield session
    else:
        refuse_if_absent(address)
        with _closing(_join(address)) as session:
            yield session


@contextmanager
def _closing(session: Session) -> Iterator[Session]:
    try:
        yield session
    finally:
        if not session.is_lost:
            _shut_down()


def leave_at_once(code: int) -> NoReturn:
    """End this process without asking a dead cluster to shut down; what is left of a local one dies with it."""
    sys.stdout.flush()
    sys.stderr.flush()
    shutil.rmtree(_folder_of(os.getpid()), ignore_errors=True)
    os._exit(code)


def _start_local(folder: Path, metrics_port: int | None) -> Session:
    # Token authentication, Ray's default, would write to ~/.ray; a cluster of one private machine needs none.
    os.environ.setdefault("RAY_AUTH_MODE", "disabled")
    ray = _import_ray()
    machine = this_machine()
    for attempt in range(1, START_TRIES + 1):
        try:
            ray.init(
                num_cpus=machine.num_cpus,
                include_dashboard=False,
                object_store_memory=OBJECT_STORE_BYTES,
                log_to_driver=False,
                logging_level="CRITICAL",
                _temp_dir=str(folder),
                _metrics_export_port=metrics_port,
            )
        except (SystemExit, Interrupted) as error:  # SystemExit is how Ray takes a SIGTERM
            raise RayLostError(f"stopped while Ray started; {AGAIN}") from error
        except Exception as error:  # Ray raises the base class when a busy machine does not start it in 30 s
            ray.shutdown()
            if attempt == START_TRIES:
                raise RayLostError(f"Ray does not start: {error}") from error
        else:
            break
    return Session(machine, vital=children(VITAL))


def _join(address: str) -> Session:
    ray = _import_ray()
    try:
        ray.init(address=address, log_to_driver=False, logging_level="CRITICAL")
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise UsageError(f"no Ray cluster answers at {address}: {error}") from error
    return Session(_machine_of(ray.nodes()))


def machine_at(address: str | None) -> Machine:
    """What the cluster at that address offers, asked of its control store without joining it; here where it is None.

    UsageError where there is no cluster.
    """
    if address is None:
        return this_machine()
    ray = _import_ray()
    from ray._private.services import canonicalize_bootstrap_address
    from ray._private.state import GlobalState

    state = GlobalState()
    try:
        found = canonicalize_bootstrap_address(address)
        options = ray._raylet.GcsClientOptions.create(
            found, None, allow_cluster_id_nil=True, fetch_cluster_id_if_nil=False
        )
        state._initialize_global_state(options)
        return _machine_of(state.node_table())
    except (ConnectionError, RuntimeError, ValueError, TypeError) as error:
        raise UsageError(f"no Ray cluster answers at {address}: {error}") from error
    finally:
        state.disconnect()


def refuse_if_absent(address: str) -> None:
    """UsageError where nothing listens: Ray itself would go on trying for minutes."""
    if address == "auto":
        return
    host, _, port = address.rpartition(":")
    if "://" in address or not host or not port.isdigit():
        raise UsageError(f"--address takes the head's HOST:PORT, or auto; not {address!r}")
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT_S).close()
    except OSError as error:
        raise UsageError(f"no Ray cluster answers at {address}: {error}") from error


def _import_ray() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_DATA_DISABLE_PROGRESS_BARS", "1")
    import ray

    return ray


def _machine_of(rows: Sequence[Mapping[str, Any]]) -> Machine:
    alive = [node for node in rows if node["Alive"]]
    nodes = [node for node in alive if node.get("Labels", {}).get(POOL_LABEL) != TEXT_POOL]
    totals: dict[str, float] = {}
    for node in nodes:
        for name, amount in node["Resources"].items():
            totals[name] = totals.get(name, 0.0) + amount
    kind = "GPU" if totals.get("GPU") else "CPU"
    kinds = [name.removeprefix("accelerator_type:") for name in totals if name.startswith("accelerator_type:")]
    return Machine(
        num_nodes=len(alive),
        num_cpus=int(totals.get("CPU", 0)),
        num_gpus=int(totals.get("GPU", 0)),
        memory_bytes=int(totals.get("memory", 0)),
        device=f"nvidia-{kinds[0].lower()}" if kinds and totals.get("GPU") else "cpu",
        devices_per_node=int(max((node["Resources"].get(kind, 0.0) for node in nodes), default=0)),
        num_text_nodes=len(alive) - len(nodes),
    )


def _shut_down() -> None:
    import ray

    closing = threading.Thread(target=ray.shutdown, name="ray-shutdown", daemon=True)
    closing.start()
    closing.join(SHUTDOWN_S)


def _folder_of(pid: int) -> Path:
    root = tempfile.gettempdir()
    return Path(root if len(root) <= MAX_ROOT_CHARS else "/tmp") / f"{FOLDER_PREFIX}{pid}"


@contextmanager
def _local_folder() -> Iterator[Path]:
    """A folder for the cluster's files; those of drivers that were killed are cleared away."""
    folder = _folder_of(os.getpid())
    for stale in folder.parent.glob(f"{FOLDER_PREFIX}*"):
        pid = stale.name.removeprefix(FOLDER_PREFIX)
        if pid.isdigit() and not Path(f"/proc/{pid}").exists():
            end_users_of(stale)  # Ray's agents outlive a killed driver by a minute
            shutil.rmtree(stale, ignore_errors=True)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"no room for Ray's files: {error}; set TMPDIR") from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _native_stderr_to(path: Path) -> Iterator[None]:
    """What C++ threads write to the process's stderr goes to a file; Python's own stderr stays where it is.

    Ray's core reports there what it retries anyway, and floods the terminal when its cluster dies.
    """
    before: TextIO = sys.stderr
    terminal = os.dup(2)
    with path.open("ab") as sink, os.fdopen(terminal, "w", buffering=1) as python:
        sys.stderr.flush()
        os.dup2(sink.fileno(), 2)
        sys.stderr = python
        try:
            yield
        finally:
            sys.stderr = before
            os.dup2(terminal, 2)
