"""Structured logs: what every process of the farm writes to its standard error, one line an event.

As JSON a line is one object: time (UTC), level, logger, message, then what is known of its circumstances (run_id,
clip_id, job_id, request_id, model, node, worker, rank, attempt) and the event's own fields; `exception` is a traceback.
As text it is the same for people. Messages are fixed words: whatever changes from event to event is a field.

    log = logging.getLogger(__name__)
    with log_context(clip_id=clip_id):
        log.info("clip committed", extra=fields(seconds=12.5))

Secrets are blotted out of every line: those of the settings, and whatever looks like a key, a signed address or a
password. Prompts are people's own words: they are fields of debug lines alone.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, Self, TextIO

from farm.settings import LogFormat, LogLevel, Settings

PACKAGES = ("farm", "jobs", "deployments", "wan_model")
"""Whose events are written from the level of the setup on; other libraries' from warnings on."""

BLOT = "***"
_SECRET_NAME = (
    r"(?:secret|password|passwd|token|signature|credential|api_?key|access_?key(?:_?id)?|secret_?key"
    r"|secret_?access_?key|sig)"
)
_BLOTTED = (
    # name=value, name: value and 'name': 'value', as in query strings, headers and printed dictionaries. What stands
    # before a name's last words is not matched: lines hold texts of strangers, and trying all ways would take for ever.
    (
        re.compile(rf"(?i)((?<![^\W_]){_SECRET_NAME}\\{{0,3}}[\"']?\s*[=:]\s*\\{{0,3}}[\"']?)[^\s\\\"',;&}}]+"),
        rf"\1{BLOT}",
    ),
    (re.compile(r"(?i)\b(bearer|basic)\s+[\w.~+/=-]{8,}"), rf"\1 {BLOT}"),
    (re.compile(r"://[^/\s:@]+:[^/\s@]+@"), f"://{BLOT}@"),
    (re.compile(r"\bwf_[\w-]{43}"), BLOT),
    (re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"), BLOT),
)
_SECRET_KEY = re.compile(rf"(?i)(?:.*[_-])?{_SECRET_NAME}")
_SECRET_OPTION = re.compile(r"(?i)key|secret|token|password")
# Of a secret that is looked for as it stands: shorter ones would blot out innocent words.
_MIN_SECRET_CHARS = 6

_PEOPLES_WORDS = ("prompt", "negative_prompt")

_CONTEXT: ContextVar[Mapping[str, Any]] = ContextVar("log_context", default=MappingProxyType({}))


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSetup:
    """How a process writes. Small, so that it can travel to processes that it starts.

    Args:
        context: circumstances of all lines of the process.
        secrets: what must not be in any line.
    """

    format: LogFormat = "text"
    level: LogLevel = "warning"
    context: Mapping[str, Any] = field(default_factory=dict)
    secrets: tuple[str, ...] = field(default=(), repr=False)

    @classmethod
    def of(cls, settings: Settings, **context: Any) -> Self:
        """As the settings say: warnings as text, from information on as JSON, unless a level is set."""
        level = settings.log_level or ("info" if settings.log == "json" else "warning")
        return cls(format=settings.log, level=level, context=context, secrets=_secrets_in(settings.storage_options))

    def to_argument(self) -> str:
        """For a command line, which everybody can read: without the secrets."""
        return json.dumps({"format": self.format, "level": self.level, "context": dict(self.context)})

    @classmethod
    def from_argument(cls, text: str) -> Self:
        """The inverse of `to_argument`."""
        return cls(**json.loads(text))


class _State:
    """What this process has been set up with."""

    setup: LogSetup | None = None
    handler: logging.Handler | None = None


def begin_logs(setup: LogSetup, *, stream: TextIO | None = None) -> None:
    """Have this process write so from now on, to `stream` or whatever `sys.stderr` is at that moment."""
    handler = _Handler(stream)
    handler.setFormatter(_JsonFormatter(setup) if setup.format == "json" else _TextFormatter(setup))
    root = logging.getLogger()
    if _State.handler is not None:
        root.removeHandler(_State.handler)
    root.addHandler(handler)
    for name in PACKAGES:
        logging.getLogger(name).setLevel(setup.level.upper())
    _State.setup, _State.handler = setup, handler


def current_setup(**context: Any) -> LogSetup:
    """This process's setup with more context, for a process that it starts. Where none was begun, the defaults."""
    setup = _State.setup or LogSetup()
    return replace(setup, context={**setup.context, **context})


def is_json() -> bool:
    """Whether whoever reads this process's standard error expects JSON."""
    return _State.setup is not None and _State.setup.format == "json"


@contextmanager
def log_context(**context: Any) -> Iterator[None]:
    """Circumstances of the lines of this thread (or task) as long as the block lasts; None is not known."""
    token = _CONTEXT.set({**_CONTEXT.get(), **context})
    try:
        yield
    finally:
        _CONTEXT.reset(token)


def fields(**values: Any) -> dict[str, Any]:
    """An event's own fields, as `extra` of a logging call; None is left out."""
    return {"fields": values}


class _Handler(logging.Handler):
    """Each line in one write, so that lines of several processes at one file do not mix."""

    def __init__(self, stream: TextIO | None) -> None:
        super().__init__()
        self._stream = stream

    def emit(self, record: logging.LogRecord) -> None:
        try:
            stream = self._stream or sys.stderr
            stream.write(self.format(record) + "\n")
            stream.flush()
        except Exception:  # the boundary: a log that cannot be written ends nothing
            self.handleError(record)


class _Formatter(logging.Formatter):
    def __init__(self, setup: LogSetup) -> None:
        super().__init__()
        self._context = setup.context
        self._secrets = sorted((secret for secret in setup.secrets), key=len, reverse=True)

    def known_of(self, record: logging.LogRecord) -> dict[str, Any]:
        """Context and fields, the nearer ones last, without secrets."""
        known = {**self._context, **_CONTEXT.get(), **getattr(record, "fields", {})}
        if record.levelno > logging.DEBUG:
            known = {name: value for name, value in known.items() if name not in _PEOPLES_WORDS}
        return {name: self.clean(value) for name, value in known.items() if value is not None}

    def clean(self, value: Any) -> Any:
        """The value with its secrets blotted out, at any depth."""
        if isinstance(value, str):
            return self._clean_text(value)
        if isinstance(value, Mapping):
            return {name: BLOT if _SECRET_KEY.fullmatch(name) else self.clean(entry) for name, entry in value.items()}
        if isinstance(value, list | tuple):
            return [self.clean(entry) for entry in value]
        return value if isinstance(value, bool | int | float) or value is None else self._clean_text(str(value))

    def _clean_text(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, BLOT)
        for pattern, blotted in _BLOTTED:
            text = pattern.sub(blotted, text)
        return text

    def exception_of(self, record: logging.LogRecord) -> str | None:
        return self._clean_text(self.formatException(record.exc_info)) if record.exc_info else None


class _JsonFormatter(_Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": _time_of(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": self.clean(record.getMessage()),
            **self.known_of(record),
            "exception": self.exception_of(record),
        }
        return json.dumps({name: value for name, value in line.items() if value is not None}, ensure_ascii=False)


class _TextFormatter(_Formatter):
    def format(self, record: logging.LogRecord) -> str:
        known = "".join(f" {name}={_shown(value)}" for name, value in self.known_of(record).items())
        head = f"{_time_of(record)} {record.levelname.lower()} {record.name}: {self.clean(record.getMessage())}"
        trace = self.exception_of(record)
        return head + known + (f"\n{trace}" if trace else "")


def _time_of(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _shown(value: Any) -> str:
    return value if isinstance(value, str) and " " not in value else json.dumps(value, ensure_ascii=False)


def _secrets_in(options: Mapping[str, Any], *, is_secret: bool = False) -> tuple[str, ...]:
    """All texts under names that are a secret's, at any depth."""
    found: list[str] = []
    for name, value in options.items():
        is_one = is_secret or _SECRET_OPTION.search(name) is not None
        if isinstance(value, Mapping):
            found += _secrets_in(value, is_secret=is_one)
        elif is_one and isinstance(value, str) and len(value) >= _MIN_SECRET_CHARS:
            found.append(value)
    return tuple(found)
