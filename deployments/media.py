"""Files of finished clips, as they are handed out: where each lies, how long it is, what names its version."""

from __future__ import annotations

import io
import tempfile
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from PIL import Image

from farm.errors import NotFoundError
from farm.media import read_frames
from farm.provenance import Record
from farm.storage import Storage

Variant = Literal["video", "thumbnail", "spritesheet"]
VARIANTS: tuple[Variant, ...] = ("video", "thumbnail", "spritesheet")

# Read and sent at once: what one download holds in memory.
CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Media:
    """A file below OUT. `etag` is another for other bytes; `filename` is what a browser may save it as."""

    path: str
    size_bytes: int
    content_type: str
    etag: str
    filename: str


def media_of(out: Storage, record: Record, variant: Variant, *, name: str) -> Media:
    """One of a finished clip's files. NotFoundError where it is gone. `name` begins the file's name."""
    if variant == "video":
        video = record.video
        return Media(
            path=video.path,
            size_bytes=video.size_bytes,
            content_type="video/mp4",
            etag=f'"{video.sha256}"',
            filename=f"{name}.mp4",
        )
    path = record.thumbnail if variant == "thumbnail" else record.strip
    entry = out.stat(path)
    if entry is None:
        raise NotFoundError("read", path, "it is gone")
    return Media(
        path=path,
        size_bytes=entry.size_bytes,
        content_type="image/webp",
        etag=f'"{record.video.sha256[:32]}-{variant}-{entry.size_bytes}"',
        filename=f"{name}-{variant}.webp",
    )


def read_chunks(out: Storage, path: str, *, start: int, size: int) -> Iterator[bytes]:
    """So many bytes of a file, a chunk at a time. Blocking."""
    for offset in range(start, start + size, CHUNK_BYTES):
        yield out.read_range(path, start=offset, size=min(CHUNK_BYTES, start + size - offset))


def last_frame(out: Storage, record: Record) -> bytes:
    """The last picture of a clip, as PNG. Blocking; one frame at a time is in memory."""
    with tempfile.TemporaryDirectory(prefix="wanfarm-extend-") as folder:
        local = Path(folder, "video.mp4")
        with local.open("wb") as sink:
            for chunk in read_chunks(out, record.video.path, start=0, size=record.video.size_bytes):
                sink.write(chunk)
        frames = deque(read_frames(local), maxlen=1)
    if not frames:
        raise NotFoundError("read", record.video.path, "it holds no frames")
    png = io.BytesIO()
    Image.fromarray(frames[0]).save(png, "PNG")
    return png.getvalue()
