"""Logs to read in tests; afterwards this process logs as before."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from farm import logs
from farm.logs import LogLevel, LogSetup, begin_logs


@dataclass(slots=True)
class LogReader:
    """What was written since `begin`."""

    stream: io.StringIO = field(default_factory=io.StringIO)

    def begin(self, *, level: LogLevel = "info", **context: Any) -> None:
        """Have this process log here, as JSON."""
        begin_logs(LogSetup(format="json", level=level, context=context), stream=self.stream)

    def lines(self) -> list[dict[str, Any]]:
        """Each of them a JSON object."""
        return [json.loads(line) for line in self.stream.getvalue().splitlines()]


@contextmanager
def log_reader() -> Iterator[LogReader]:
    """As long as the block lasts."""
    levels = {name: logging.getLogger(name).level for name in logs.PACKAGES}
    setup, handler = logs._State.setup, logs._State.handler
    yield LogReader()
    if logs._State.handler is not None:
        logging.getLogger().removeHandler(logs._State.handler)
    if handler is not None:
        logging.getLogger().addHandler(handler)
    logs._State.setup, logs._State.handler = setup, handler
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)
