"""`wanfarm serve` in a process of its own, for as long as a measurement takes."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager


@contextmanager
def serving(*flags: str, environment: Mapping[str, str]) -> Iterator[str]:
    """Its address: a free port of this machine, without keys."""
    command = [sys.executable, "-m", "jobs.cli", "serve", "--port", "0", "--no-auth", *flags]
    with subprocess.Popen(command, env={**os.environ, **environment}, stdout=subprocess.PIPE, text=True) as process:
        try:
            line = process.stdout.readline() if process.stdout else ""
            address = re.search(r"http://\S+?(?=,|\s|$)", line)
            if address is None:
                raise SystemExit(f"the server did not start: {line}")
            yield address[0]
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=120)
