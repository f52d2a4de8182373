"""What all kinds of tests share."""

from __future__ import annotations

import signal

pytest_plugins = ["services.fixtures"]


def pytest_configure() -> None:
    """Have SIGINT mean what it does at a terminal: a shell's background jobs, and what they start, ignore it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
