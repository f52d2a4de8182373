"""A command in a process below this one, whose exit code is right whatever ends that process.

Ray's core ends the process that uses it when it needs a raylet or an object store that is gone: at once, past all that
Python could catch, and with exit code 1. Of this command 1 says that clips failed and all others are done.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress

from farm.errors import Interrupted
from jobs.printing import complain
from jobs.signals import AGAIN, SIGNALS

_PR_SET_PDEATHSIG = 1
_AWAITED = (*SIGNALS, signal.SIGCHLD)


def guarded(command: Callable[[], int]) -> int:
    """The command's exit code; 75 where its process was ended before it could say one.

    Returns in both processes, so that the lower one ends as any other. It has a process group of its own: what a
    terminal sends reaches it once, through this process. It dies with this process, however that ends.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    reading, writing = os.pipe()
    guard = os.getpid()
    # To be waited for: a handler would not run for a signal that comes just before the wait for the child begins.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _AWAITED)
    child = os.fork()
    if child == 0:
        os.setpgid(0, 0)
        _die_with(guard)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return _telling(command, writing)
    status = _end_of(child)
    os.set_blocking(reading, False)
    with suppress(BlockingIOError):  # a child of the child has the pipe open still
        told = os.read(reading, 1)
        if told:
            return told[0]
    return _code_of(os.waitstatus_to_exitcode(status))


def _end_of(child: int) -> int:
    """The status that the child ends with. Until then it gets the signals that are sent to this process."""
    while True:
        number = signal.sigwait(_AWAITED)
        if number != signal.SIGCHLD:
            os.kill(child, number)
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return status


def _telling(command: Callable[[], int], writing: int) -> int:
    code = 1  # what the interpreter makes of an exception
    try:
        code = command()
    finally:
        os.write(writing, bytes([code]))
    return code


def _code_of(status: int) -> int:
    if status != Interrupted.exit_code:  # with that one it ended by intent, and has said why
        how = f"Ray is gone, and with it the driver (exit code {status})"
        if status < 0:
            how = f"the driver was ended by {signal.Signals(-status).name}"
        complain(f"{how}; {AGAIN}")
    return Interrupted.exit_code


def _die_with(guard: int) -> None:
    with suppress(AttributeError):  # Linux alone has it
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != guard:
        os._exit(Interrupted.exit_code)
