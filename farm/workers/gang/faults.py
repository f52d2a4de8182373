"""Errors of ranks, raised again at their leader by class."""

from __future__ import annotations

import builtins
import traceback
from contextlib import suppress

from farm import errors
from farm.workers.gang.messages import Failed


def told(error: BaseException) -> Failed:
    """An exception as a rank tells of it."""
    text = "".join(traceback.format_exception(error))
    return Failed(error_class=type(error).__name__, message=str(error), traceback=text)


def raised_again(failed: Failed) -> Exception:
    """The same exception, with the rank's traceback as a note. A class that takes more than a message, or that is not
    known here, is a RuntimeError."""
    found = getattr(errors, failed.error_class, None) or getattr(builtins, failed.error_class, None)
    error: Exception = RuntimeError(f"{failed.error_class}: {failed.message}")
    if isinstance(found, type) and issubclass(found, Exception):
        with suppress(TypeError):
            error = found(failed.message)
    error.add_note(f"In the rank:\n{failed.traceback}")
    return error
