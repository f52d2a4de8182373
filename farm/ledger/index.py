"""Which clips are committed, and their records, at a cost that allows for a million of them.

Ids come from listing the 256 folders of clips at once; no record is opened. Contents come from OUT/index/*.parquet,
into which records are compacted, and from the records that are newer. The listing is always the truth.

A clip that was deleted may be there again with another record, of which the index knows nothing. Before a record is
deleted OUT/unindexed/<clip_id>-<nonce> is put: rows of such clips are passed over, and the next compaction takes them
out. The mark goes a day later, when no compaction that began before it can still write such a row.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from farm.errors import NotFoundError
from farm.layout import CLIPS, INDEX, RECORD_SUFFIX, UNINDEXED, clip_id_of, record_path
from farm.ledger.parallel import map_in_order
from farm.storage.base import Storage

SCHEMA = pa.schema([("clip_id", pa.string()), ("record", pa.large_string())])

# A part is read whole, so it bounds memory: 50,000 records are some 100 MB of text. Small parts are merged.
PART_ROWS = 50_000
MAX_SMALL_PARTS = 16

# Longer than any compaction takes.
UNINDEXED_S = 24 * 3600.0

# Below so many ids a question by id costs less than listing their folders.
FEW_IDS = 64

Row = dict[str, Any]


def committed_ids(storage: Storage, *, among: Collection[str] | None = None) -> set[str]:
    """The clips that have a record, of all or of those asked for."""
    if among is not None and len(among) <= FEW_IDS:
        asked = sorted(among)
        has_record = map_in_order(lambda clip_id: storage.exists(record_path(clip_id)), asked)
        return {clip_id for clip_id, is_there in zip(asked, has_record, strict=True) if is_there}
    shards: Iterable[str] = storage.folders(CLIPS)
    if among is not None:
        shards = {clip_id[:2] for clip_id in among}.intersection(shards)
    found: set[str] = set()
    for ids in map_in_order(lambda shard: _ids_of_shard(storage, shard), sorted(shards)):
        found.update(ids)
    return found if among is None else found.intersection(among)


def _ids_of_shard(storage: Storage, shard: str) -> list[str]:
    folder = f"{CLIPS}/{shard}"
    skip, end = len(folder) + 1, -len(RECORD_SUFFIX)
    return [name[skip:end] for name in storage.names(folder) if name.endswith(RECORD_SUFFIX)]


def read_records(storage: Storage, clip_ids: Collection[str] | None = None) -> Iterator[Row]:
    """The records of committed clips as plain dicts, of all or of those asked for, in no particular order.

    They are not validated: pass what must be trusted to `Record.model_validate`.
    """
    missing = committed_ids(storage, among=clip_ids)
    stale = _unindexed(storage)  # after the ids: a record that is newer than its row has its mark by now
    for clip_id, text in _indexed(storage):
        if clip_id in missing and clip_id not in stale:
            missing.discard(clip_id)
            yield json.loads(text)
    yield from (json.loads(text) for _, text in _read_texts(storage, missing))


def compact(storage: Storage, *, min_new: int = 1000) -> int:
    """Write records that the index lacks into it, if there are as many as `min_new`; returns how many were.

    Safe beside readers, writers and another compaction: rows may be there twice, and mean the same.
    """
    stale = _unindexed(storage)
    _take_out(storage, stale)
    ids = committed_ids(storage)
    missing = ids.difference(stale, (clip_id for clip_id, _ in _indexed(storage)))
    if not missing or len(missing) < min_new:
        return 0
    pending: list[tuple[str, str]] = []
    for row in _read_texts(storage, missing):
        pending.append(row)
        if len(pending) == PART_ROWS:
            _write_part(storage, pending)
            pending = []
    _write_part(storage, pending)
    _merge_small_parts(storage)
    return len(missing)


def _unindexed(storage: Storage) -> set[str]:
    """Clips of which the index must not be believed."""
    return {clip_id_of(path) for path in storage.names(UNINDEXED)}


def _take_out(storage: Storage, clip_ids: set[str]) -> None:
    """Write the parts that have rows of those clips anew without them, and remove marks that have done their work."""
    if not clip_ids:
        return
    marks = [entry for entry in storage.list(UNINDEXED) if entry.mtime_s <= storage.now() - UNINDEXED_S]
    for path in sorted(storage.names(INDEX)):
        rows = list(_rows_of(storage.read(path)))
        kept = [row for row in rows if row[0] not in clip_ids]
        if len(kept) < len(rows):
            _write_part(storage, kept)
            storage.delete(path)
    for mark in marks:
        if clip_id_of(mark.path) in clip_ids:
            storage.delete(mark.path)


def _read_texts(storage: Storage, clip_ids: Iterable[str]) -> Iterator[tuple[str, str]]:
    def read(clip_id: str) -> tuple[str, str] | None:
        with suppress(NotFoundError):  # deleted since it was listed
            return clip_id, storage.read(record_path(clip_id)).decode()
        return None

    return (row for row in map_in_order(read, sorted(clip_ids)) if row is not None)


def _indexed(storage: Storage) -> Iterator[tuple[str, str]]:
    """Rows of the index. A part that a merge removes meanwhile is passed over: its records are read one by one."""
    for path in sorted(storage.names(INDEX)):
        with suppress(NotFoundError):
            yield from _rows_of(storage.read(path))


def _rows_of(part: bytes) -> Iterator[tuple[str, str]]:
    for batch in pq.ParquetFile(pa.BufferReader(part)).iter_batches(batch_size=1000):
        yield from zip(batch.column("clip_id").to_pylist(), batch.column("record").to_pylist(), strict=True)


def _write_part(storage: Storage, rows: Sequence[tuple[str, str]]) -> str | None:
    if not rows:
        return None
    rows = sorted(rows)
    ids = [clip_id for clip_id, _ in rows]
    table = pa.table([ids, [text for _, text in rows]], schema=SCHEMA)
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd", row_group_size=1000)
    path = f"{INDEX}/{hashlib.sha256(''.join(ids).encode()).hexdigest()[:32]}.parquet"
    storage.replace(path, sink.getvalue().to_pybytes())
    return path


def _merge_small_parts(storage: Storage) -> None:
    """Put many small parts into one, then remove them; until then both count."""
    paths = sorted(storage.names(INDEX))
    if len(paths) <= MAX_SMALL_PARTS:
        return
    parts = ((path, storage.read(path)) for path in paths)
    small = {path: data for path, data in parts if _num_rows(data) < PART_ROWS // 2}
    if len(small) <= MAX_SMALL_PARTS:
        return
    rows = dict(row for data in small.values() for row in _rows_of(data))
    merged = list(rows.items())
    written = {_write_part(storage, merged[start : start + PART_ROWS]) for start in range(0, len(merged), PART_ROWS)}
    for path in small.keys() - written:
        storage.delete(path)


def _num_rows(part: bytes) -> int:
    return int(pq.ParquetFile(pa.BufferReader(part)).metadata.num_rows)
