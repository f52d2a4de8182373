"""The process of one rank: `python -m farm.workers.gang.rank`, started by `farm.workers.gang.launch` alone.

It ends with the thread that started it (the kernel sees to that), and when its channel closes.
"""

from __future__ import annotations

import argparse
import ctypes
import faulthandler
import os
import signal
import sys
from multiprocessing.connection import Connection
from pathlib import Path

from farm.logs import LogSetup, begin_logs

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--parent", type=int, required=True)
    parser.add_argument("--rank", type=int, required=True)
    parser.add_argument("--shared-folder", type=Path)
    parser.add_argument("--fd", type=int)
    parser.add_argument("--logs", type=LogSetup.from_argument, required=True)
    parser.add_argument("--log-fd", type=int, required=True)
    parser.add_argument("--connect", help="host:port of the leader; the key comes on standard input")
    arguments = parser.parse_args()
    _die_with(arguments.parent)
    begin_logs(arguments.logs, stream=os.fdopen(arguments.log_fd, "w", encoding="utf-8"))
    faulthandler.enable()
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    if arguments.fd is not None:
        connection = Connection(arguments.fd)
    else:
        from farm.workers.gang.remote import call_leader

        connection = call_leader(arguments.connect, key=sys.stdin.buffer.read(), rank=arguments.rank)
    from farm.workers.gang.serving import serve

    serve(connection, rank=arguments.rank, shared_folder=arguments.shared_folder)
    os._exit(0)  # torch takes a second to take itself apart, and holds nothing


def _die_with(parent: int) -> None:
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it was gone before the kernel was told
        os._exit(1)


if __name__ == "__main__":
    main()
