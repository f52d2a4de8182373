"""Input files of rows (images): fetched, checked and hashed while validating, once per content.

What was found good is remembered by URI and the server's version mark (ETag, or time and size), so that validating a
manifest again reads no image.
"""

from __future__ import annotations

import hashlib
import sqlite3
import threading
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from types import TracebackType

from farm.errors import InputError, StorageError
from farm.files import Files, Stat
from farm.settings import Settings
from farm.spec import AssetRef

NUM_THREADS = 8  # that fetch; decoding takes a core and, for a large image, hundreds of MB
NUM_DECODING = 2

_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS images (uri TEXT, version TEXT, max_pixels INTEGER, sha256 TEXT, PRIMARY KEY (uri))"
)


class InputChecker:
    """Knows of every image asked about whether it can be used. A context manager: it holds threads and a cache file."""

    def __init__(self, files: Files, settings: Settings) -> None:
        self._files = files
        self._settings = settings
        self._pool = ThreadPoolExecutor(max_workers=NUM_THREADS, thread_name_prefix="inputs")
        self._decoding = threading.Semaphore(NUM_DECODING)
        self._known: dict[str, AssetRef | str] = {}
        self._cache: sqlite3.Connection | None = None

    def __enter__(self) -> InputChecker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(cancel_futures=True)
        if self._cache is not None:
            self._cache.close()

    def check(self, uris: Iterable[str]) -> None:
        """Look at those images that were not asked about before, several at a time."""
        new = [uri for uri in dict.fromkeys(uris) if uri not in self._known]
        unread: dict[str, Stat] = {}
        for uri, stat in zip(new, self._pool.map(self._stat, new), strict=True):
            known = stat if isinstance(stat, str) else self._remembered(uri, stat)
            if known is not None:
                self._known[uri] = known
            elif isinstance(stat, Stat):
                unread[uri] = stat
        found = dict(zip(unread, self._pool.map(self._examined, unread), strict=True))
        self._known.update(found)
        self._remember(found, unread)

    def image(self, uri: str) -> AssetRef | str:
        """The image by content, or what is wrong with it. `check` must have seen it."""
        return self._known[uri]

    def _stat(self, uri: str) -> Stat | str:
        try:
            stat = self._files.stat(uri)
        except StorageError as error:
            return str(error)
        most = self._settings.max_input_bytes
        return stat if stat.size_bytes is None or stat.size_bytes <= most else f"{uri} has more than {most} bytes"

    def _examined(self, uri: str) -> AssetRef | str:
        # Imported here: media loads FFmpeg, which a manifest without images can do without.
        from farm.media import read_image

        limits = self._settings
        try:
            data = self._files.read(uri, max_bytes=limits.max_input_bytes)
            with self._decoding:
                read_image(data, max_bytes=limits.max_input_bytes, max_pixels=limits.max_image_pixels)
        except StorageError as error:
            return str(error)
        except InputError as error:
            return f"{uri}: {error}"
        return AssetRef(uri=uri, sha256=hashlib.sha256(data).hexdigest())

    def _remembered(self, uri: str, stat: Stat) -> AssetRef | None:
        """What the cache knows of this version of the image."""
        if stat.version is None:
            return None
        query = "SELECT sha256 FROM images WHERE uri = ? AND version = ? AND max_pixels <= ?"
        row = self._open_cache().execute(query, (uri, stat.version, self._settings.max_image_pixels)).fetchone()
        return AssetRef(uri=uri, sha256=row[0]) if row else None

    def _remember(self, found: Mapping[str, AssetRef | str], stats: Mapping[str, Stat]) -> None:
        values = [
            (uri, stats[uri].version, self._settings.max_image_pixels, image.sha256)
            for uri, image in found.items()
            if isinstance(image, AssetRef) and stats[uri].version is not None
        ]
        if values:
            with self._open_cache() as cache:
                cache.executemany("INSERT OR REPLACE INTO images VALUES (?, ?, ?, ?)", values)

    def _open_cache(self) -> sqlite3.Connection:
        if self._cache is None:
            self._cache = _connect(self._settings)
        return self._cache


def _connect(settings: Settings) -> sqlite3.Connection:
    """The cache file, or memory where it cannot be written or is damaged: then images are read again next time."""
    path = settings.cache_dir / "inputs.sqlite"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(path, timeout=10)) as probe, probe:
            probe.execute(_SCHEMA)
            probe.execute("DELETE FROM images WHERE uri IS NULL")  # fails where the file is read-only
        return sqlite3.connect(path, timeout=10)
    except (OSError, sqlite3.Error):
        connection = sqlite3.connect(":memory:")
        connection.execute(_SCHEMA)
        return connection
