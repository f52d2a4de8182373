"""Manifests: the clips to make, as Parquet, JSON Lines or CSV, in one file, a folder or a glob of part files."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path, PurePosixPath

from farm.errors import ManifestError, NotFoundError, StorageError
from farm.files import Files, protocol_of
from farm.manifest import csv_rows, jsonl, parquet
from farm.manifest.rows import RawRow

__all__ = ["Batch", "Manifest", "RawRow", "open_manifest"]

FORMATS = {
    ".parquet": "parquet",
    ".pq": "parquet",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
}
BATCH_ROWS = 2048


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Rows of one file; `base` is its folder, below which relative URIs of inputs stand."""

    base: str
    rows: list[RawRow]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    uri: str
    local: Path

    @property
    def base(self) -> str:
        is_local = protocol_of(self.uri) == "file"
        return str(self.local.absolute().parent) if is_local else self.uri.rpartition("/")[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """An opened manifest whose columns are in order. `sha256` is that of all its files' content, in order of name."""

    uri: str
    sha256: str
    parts: tuple[_Part, ...]
    format: str
    keep_columns: bool

    def batches(self) -> Iterator[Batch]:
        """All rows, in order. ManifestError where a file cannot be read to its end, or there is no row at all."""
        row = 0
        for part in self.parts:
            rows = self._rows(part, first_row=row)
            while batch := list(islice(rows, BATCH_ROWS)):
                row += len(batch)
                yield Batch(base=part.base, rows=batch)
        if row == 0:
            raise ManifestError(f"the manifest {self.uri} is empty: it has no rows")

    def _rows(self, part: _Part, *, first_row: int) -> Iterator[RawRow]:
        if self.format == "parquet":
            return parquet.read_rows(part.local, uri=part.uri, first_row=first_row)
        if self.format == "csv":
            return csv_rows.read_rows(part.local, uri=part.uri, first_row=first_row)
        return jsonl.read_rows(part.local, uri=part.uri, first_row=first_row, keep_columns=self.keep_columns)


@contextmanager
def open_manifest(uri: str, files: Files, *, keep_columns: bool = False) -> Iterator[Manifest]:
    """A manifest, checked up to its columns. Remote files are copied first: what is hashed is what is read.

    Raises:
        ManifestError: it does not exist, is no manifest or an empty one, or its columns are not as they must be.
    """
    with tempfile.TemporaryDirectory(prefix="wanfarm-manifest-") as folder:
        try:
            uris = _parts(uri, files)
            parts = tuple(_fetched(part, files, Path(folder) / str(number)) for number, part in enumerate(uris))
            digest = _sha256(parts)
        except (StorageError, OSError) as error:
            raise ManifestError(f"cannot read the manifest {uri}: {error}") from error
        manifest = Manifest(uri=uri, sha256=digest, parts=parts, format=_format(uris[0]), keep_columns=keep_columns)
        _check(manifest)
        yield manifest


def _parts(uri: str, files: Files) -> list[str]:
    found = files.expand(uri)
    if found == [uri]:
        _format(uri)
        return found
    parts = [name for name in found if _is_part(name)]
    if not parts:
        what = f"no file in it ends in {', '.join(FORMATS)}" if found else "it does not exist"
        raise NotFoundError("read", uri, what)
    if len({_format(part) for part in parts}) > 1:
        raise ManifestError(f"the manifest {uri} mixes formats: {', '.join(sorted({_format(part) for part in parts}))}")
    return parts


def _is_part(name: str) -> bool:
    """Writers leave notes such as _SUCCESS and .crc files beside their parts."""
    path = PurePosixPath(name)
    return path.suffix.lower() in FORMATS and not path.name.startswith((".", "_"))


def _format(uri: str) -> str:
    suffix = PurePosixPath(uri).suffix.lower()
    if suffix not in FORMATS:
        raise ManifestError(f"{uri} is no manifest: its name must end in {', '.join(FORMATS)}")
    return FORMATS[suffix]


def _fetched(uri: str, files: Files, target: Path) -> _Part:
    if protocol_of(uri) == "file":
        return _Part(uri=uri, local=Path(uri.removeprefix("file://")).expanduser())
    files.download(uri, target)
    return _Part(uri=uri, local=target)


def _sha256(parts: tuple[_Part, ...]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        with part.local.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def _check(manifest: Manifest) -> None:
    if all(part.local.stat().st_size == 0 for part in manifest.parts):
        raise ManifestError(f"the manifest {manifest.uri} is empty: it has no bytes")
    for part in manifest.parts:
        if manifest.format == "parquet":
            parquet.check_columns(part.local, uri=part.uri, keep_columns=manifest.keep_columns)
        elif manifest.format == "csv":
            csv_rows.check_columns(part.local, uri=part.uri, keep_columns=manifest.keep_columns)
