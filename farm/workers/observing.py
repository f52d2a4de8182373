"""What every Ray process of the farm begins with, so that others can see what it does."""

from __future__ import annotations

import os
import socket
from typing import Any

import ray

from farm.logs import LogSetup, begin_logs
from farm.provenance import Worker
from farm.settings import Settings


def this_worker() -> Worker:
    """Who renders, as records name it."""
    return Worker(host=socket.gethostname(), pid=os.getpid(), node_id=ray.get_runtime_context().get_node_id())


def begin_observed(settings: Settings, *, role: str, **context: Any) -> None:
    """Have this process log as the settings say. `context` goes with all that it tells: run_id, model."""
    worker = this_worker()
    place = {"worker": f"{worker.host}:{worker.pid}", "node": worker.node_id}
    begin_logs(LogSetup.of(settings, role=role, **place, **context))
