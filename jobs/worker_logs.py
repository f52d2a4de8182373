"""What a local cluster's processes log comes to the driver's standard error, as the cluster's folder goes with it.

Only where that is JSON: a person who watches a terminal is told what matters by the driver. On a cluster that is joined
the files stay, and whatever collects them there has them from all nodes.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from farm.logs import is_json

LOOK_S = 0.5
# Files of Ray's worker processes; its own logs are not JSON and lie beside them.
_FILES = "session_2*/logs/worker-*.err"


class WorkerLogs:
    """Reads on in all files below a cluster's folder. For one thread."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._read = dict[Path, int]()

    def forward(self) -> None:
        """Pass on the events that came since; a line without its end waits for it."""
        for path in sorted(self._folder.glob(_FILES)):
            with path.open("rb") as file:
                file.seek(self._read.get(path, 0))
                for line in file:
                    if not line.endswith(b"\n"):
                        break
                    self._read[path] = self._read.get(path, 0) + len(line)
                    if line.startswith(b'{"time": '):
                        sys.stderr.write(line.decode(errors="replace"))
        sys.stderr.flush()


@contextmanager
def forwarded(folder: Path) -> Iterator[None]:
    """As long as the block lasts, and what came until its end."""
    if not is_json():
        yield
        return
    logs, is_over = WorkerLogs(folder), threading.Event()

    def run() -> None:
        while not is_over.wait(LOOK_S):
            logs.forward()

    thread = threading.Thread(target=run, name="worker-logs", daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()
        logs.forward()
