"""How commands put what they found on stdout: lines for people, or one JSON document; and complaints on stderr."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterable, Sequence

from farm.logs import is_json

_LOG = logging.getLogger(__name__)


def say(lines: Iterable[str]) -> None:
    """Lines to stdout."""
    for line in lines:
        sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def say_json(value: object) -> None:
    """One document to stdout."""
    say([json.dumps(value, indent=1, ensure_ascii=False, default=str)])


def complain(message: str) -> None:
    """What is wrong, to stderr: a line for people, or an event where JSON is written there."""
    line = " ".join(message.split())
    if is_json():
        _LOG.error("%s", line)
    else:
        sys.stderr.write(f"wanfarm: {line}\n")


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Cells in columns, two blanks apart."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def counted(number: int, noun: str) -> str:
    """ "1 row", "2 rows"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def byte_size(size_bytes: float) -> str:
    """Bytes in the unit that suits them."""
    for unit in ("B", "KiB", "MiB"):
        if size_bytes < 1024:
            return f"{size_bytes:.0f} {unit}"
        size_bytes /= 1024
    return f"{size_bytes:.1f} GiB"
