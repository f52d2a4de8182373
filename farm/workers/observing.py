"""What every Ray process of the farm begins with, so that others can see what it does."""

from __future__ import annotations

import logging
import os
import socket
import sys
from typing import Any

import ray

from farm.errors import UsageError
from farm.logs import LogSetup, begin_logs, fields
from farm.provenance import Worker
from farm.settings import Settings
from farm.traces import begin_spans

_LOG = logging.getLogger(__name__)


def this_worker() -> Worker:
    """Who renders, as records name it."""
    return Worker(host=socket.gethostname(), pid=os.getpid(), node_id=ray.get_runtime_context().get_node_id())


def begin_observed(settings: Settings, *, role: str, origin: tuple[int, int] | None = None, **context: Any) -> None:
    """Have this process log, and tell of spans, as the settings say.

    Args:
        origin: see `farm.traces.Spans`.
        context: goes with all that it tells: run_id, model.
    """
    worker = this_worker()
    place = {"worker": f"{worker.host}:{worker.pid}", "node": worker.node_id}
    # Not `sys.stderr`, which Serve turns into a log of its own in which each of our lines would be one of its words.
    begin_logs(LogSetup.of(settings, role=role, **place, **context), stream=sys.__stderr__)
    try:
        begin_spans(settings.traces, origin=origin, role=role, **place, **context)
    except UsageError as error:  # this node lacks the exporter; that is no reason to render nothing
        _LOG.warning("no spans from here", extra=fields(error=str(error)))
