"""Which bytes of a file a client asks for: Range, If-Range and If-None-Match, without HTTP's machinery."""

from __future__ import annotations

import re
from dataclasses import dataclass

from deployments.errors import RangeError

_RANGE = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """`size` bytes from `start` on."""

    start: int
    size: int

    def content_range(self, size_bytes: int) -> str:
        """As the header says it, of a file of so many bytes."""
        return f"bytes {self.start}-{self.start + self.size - 1}/{size_bytes}"


def span_of(wanted: str | None, *, size_bytes: int, etag: str, if_range: str | None = None) -> Span | None:
    """The one span that a Range header asks for, None for the whole file. RangeError where it begins beyond the end.

    Several ranges at once, other units and what cannot be read are answered with the whole file, as HTTP allows.
    """
    found = _RANGE.fullmatch(wanted.strip()) if wanted else None
    if found is None or (if_range is not None and if_range.strip() != etag):
        return None
    first, last = found.groups()
    if not first and not last:
        return None
    if not first:
        size = min(int(last), size_bytes)
        return _within(size_bytes - size, size_bytes - 1, size_bytes) if size else _beyond(size_bytes)
    start, end = int(first), int(last) if last else size_bytes - 1
    if end < start and last:
        return None
    return _within(start, min(end, size_bytes - 1), size_bytes)


def is_unchanged(if_none_match: str | None, etag: str) -> bool:
    """Whether the client has this version already."""
    if if_none_match is None:
        return False
    tags = [tag.strip().removeprefix("W/") for tag in if_none_match.split(",")]
    return "*" in tags or etag in tags


def _within(start: int, end: int, size_bytes: int) -> Span:
    return Span(start=start, size=end - start + 1) if start < size_bytes else _beyond(size_bytes)


def _beyond(size_bytes: int) -> Span:
    raise RangeError(f"the file has {size_bytes} bytes, the range begins beyond them", size_bytes=size_bytes)
