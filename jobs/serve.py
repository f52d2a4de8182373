"""`wanfarm serve`: the online application on this machine, on a Ray of its own, until it is told to stop.

The one module of jobs that knows deployments.
"""

from __future__ import annotations

import errno
import ipaddress
import logging
import os
import shlex
import socket
import time
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deployments.config import AppConfig
from deployments.config.serve_file import ServeFile, parse_serve_file, serve_values
from deployments.local import ENVIRONMENT, AppState, LocalServe
from farm.errors import Interrupted, UsageError
from farm.keys import SCOPES, KeyStore
from farm.logs import fields
from farm.models import chosen_model
from farm.settings import Settings
from farm.storage import open_storage
from jobs.calls import MAX_PORT
from jobs.fleet import this_machine
from jobs.printing import complain, say
from jobs.serve_layout import arguments_here
from jobs.session import RayLostError, Session, leave_at_once, ray_session
from jobs.signals import Drain, drained_by_signals

_LOG = logging.getLogger(__name__)

LOOK_S = 1.0
# Beyond what gangs have to put their clips down.
FAREWELL_S = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeCall:
    """`wanfarm serve` as it was called. None is what the file says, or the default."""

    out: str | None
    models: tuple[str, ...]
    host: str | None
    port: int | None
    no_auth: bool
    insecure: bool
    config: str | None
    threads: int | None
    workers: int | None
    metrics_port: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """Where HTTP is answered."""

    host: str
    port: int

    @property
    def url(self) -> str:
        """As a browser on this machine takes it."""
        host = "127.0.0.1" if self.host in ("0.0.0.0", "::") else self.host
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether nobody but this machine's users can reach it."""
        with suppress(ValueError):
            return ipaddress.ip_address(self.host).is_loopback
        return self.host == "localhost"


def check_file(path: str) -> int:
    """0 for a Serve file without faults; UsageError names all that there are."""
    found = _read_file(path)
    names = ", ".join(model.model for config in found.applications.values() for model in config.models)
    say([f"{path}: no faults ({names})"])
    return 0


def serve_here(call: ServeCall) -> int:
    """0 once it was told to stop and has."""
    settings = Settings.from_env()
    config, door = _asked(call, settings)
    _refuse_strangers(config, door, is_insecure=call.insecure)
    storage = open_storage(config.out, options=settings.options_for("s3"))
    storage.probe_writable()
    for model in config.models:
        chosen_model(model.model, settings)  # hashes weights that are new here: once, instead of in each process
    _refuse_if_taken(door)
    os.environ.update(ENVIRONMENT)
    grace_s = max(model.drain_s for model in config.models) + FAREWELL_S
    try:
        with drained_by_signals(grace_s=grace_s) as drain, _own_ray(call.metrics_port) as session:
            drain.listen()  # Ray took SIGTERM
            serving = LocalServe(serve_values(config, host=door.host, port=door.port))
            _until_ready(serving, session)
            # Told as soon as it is made: a key that nobody was told of could never be had again.
            _announce(config, door, None if config.api.is_open else _first_key(KeyStore(storage)))
            with drain.patiently():
                _watch(serving, session, drain)
                return _end(serving, session, drain)
    except RayLostError as error:
        complain(str(error))
        leave_at_once(error.exit_code)


def _own_ray(metrics_port: int | None) -> AbstractContextManager[Session]:
    if metrics_port is not None and not 0 < metrics_port <= MAX_PORT:
        raise UsageError(f"--metrics-port takes a port from 1 to {MAX_PORT}, not {metrics_port}")
    return ray_session(None, metrics_port=metrics_port)


def _asked(call: ServeCall, settings: Settings) -> tuple[AppConfig, Door]:
    """Flags over the file over what this machine suggests."""
    if call.config is None:
        arguments = arguments_here(
            call.models or ("nano",),
            out=call.out or "out/serve",
            machine=this_machine(),
            settings=settings,
            threads=call.threads,
            workers=call.workers,
        )
        host, port = "127.0.0.1", 8000
    else:
        found = _read_file(call.config)
        if len(found.applications) > 1:
            raise UsageError(f"{call.config} has {len(found.applications)} applications: here one is served")
        (config,) = found.applications.values()
        arguments = config.model_dump(mode="json", exclude_defaults=True)
        if call.models:
            raise UsageError("--model or --config: the file names its models")
        host, port = str(found.schema.http_options.host), int(found.schema.http_options.port)
    changes: dict[str, Any] = {"out": call.out or arguments["out"]}
    if "://" not in changes["out"]:
        changes["out"] = str(Path(changes["out"]).expanduser().absolute())  # Ray's processes have a folder of their own
    if call.no_auth:
        changes["api"] = arguments.get("api", {}) | {"is_open": True} | ({"hosts": ["*"]} if call.insecure else {})
    config = AppConfig.parse({**arguments, **changes})
    asked_port = port if call.port is None else call.port
    return config, Door(host=call.host or host, port=asked_port or _free_port())


def _read_file(path: str) -> ServeFile:
    try:
        text = Path(path).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read: {error}") from error
    return parse_serve_file(text, source=path)


def _refuse_strangers(config: AppConfig, door: Door, *, is_insecure: bool) -> None:
    if config.api.is_open and not door.is_loopback and not is_insecure:
        raise UsageError(
            f"--no-auth would let everybody who reaches {door.host} render and delete: serve on 127.0.0.1, use keys, "
            "or say --insecure"
        )


def _refuse_if_taken(door: Door) -> None:
    family = socket.AF_INET6 if ":" in door.host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((door.host, door.port))
            probe.listen(1)
    except OSError as error:
        why = "is taken" if error.errno == errno.EADDRINUSE else f"cannot be had ({error.strerror})"
        raise UsageError(f"port {door.port} on {door.host} {why}: choose another with --port") from error


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _first_key(keys: KeyStore) -> str | None:
    """A key for everything where there is none at all; it is told once, and nobody can tell it again."""
    if keys.list():
        return None
    _, secret = keys.create(name="first", project="default", scopes=SCOPES)
    return secret


def _announce(config: AppConfig, door: Door, key: str | None) -> None:
    names = ", ".join(model.model for model in config.models)
    _LOG.info("service ready", extra=fields(models=names, url=door.url, out=config.out))
    say([f"serving {names} at {door.url}, output in {config.out}"])
    if key is not None:
        say([f"admin key, shown this once: {key}", f"more keys: wanfarm keys create {shlex.quote(config.out)}"])
    if config.api.is_open:
        say(["no keys are asked for: whoever reaches this address is admin"])
    elif not door.is_loopback:
        say(["keys travel unencrypted to this address: put a proxy with TLS before it"])
    say(["ready; stop with Ctrl-C"])


def _until_ready(serving: LocalServe, session: Session) -> None:
    """Weights are loaded by then. UsageError where the application does not start."""
    while not (state := serving.state()).is_ready:
        session.check()
        if state.fault is not None:
            raise UsageError(f"the application does not start: {state.fault}")
        time.sleep(LOOK_S / 4)


def _watch(serving: LocalServe, session: Session, drain: Drain) -> None:
    """Until a signal comes. What breaks meanwhile Serve builds anew; it is told once."""
    told: str | None = None
    while not drain.is_asked:
        session.check()
        state: AppState = serving.state()
        if state.fault is not None and state.fault != told:
            complain(state.fault)
        told = state.fault
        time.sleep(LOOK_S)


def _end(serving: LocalServe, session: Session, drain: Drain) -> int:
    _LOG.info("service ends", extra=fields(signal=drain.name))
    say([f"{drain.name}: clips in work are put down; once more ends it at once"])
    serving.begin_end()
    while not serving.is_gone():
        session.check()
        if drain.is_over:
            raise Interrupted("ended before every clip was put down; they go on from their kept states")
    return 0
