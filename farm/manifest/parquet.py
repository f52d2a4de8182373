"""Manifests in Parquet: columns are checked by type before a row is read, rows come batch by batch."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from farm.errors import ManifestError
from farm.manifest.rows import Kind, RawRow, column_names_faults, kind_of, refuse_columns
from farm.request import FIELDS

BATCH_ROWS = 2048


def check_columns(path: Path, *, uri: str, keep_columns: bool) -> None:
    """Raises ManifestError naming every column that is unknown, missing or of the wrong type."""
    with _open(path, uri) as file:
        schema = file.schema_arrow
    faults = column_names_faults(schema.names, keep_columns=keep_columns)
    faults += [
        f"{column.name}: holds {column.type}, expected {kind_of(column.name).value}"
        for column in schema
        if column.name in FIELDS and not _holds(column.type, kind_of(column.name))
    ]
    refuse_columns(faults, uri=uri)


def read_rows(path: Path, *, uri: str, first_row: int) -> Iterator[RawRow]:
    """The rows of one file. ManifestError where its pages cannot be read."""
    with _open(path, uri) as file:
        row = first_row
        batches = file.iter_batches(batch_size=BATCH_ROWS)
        while rows := _next(batches, uri):
            yield from (_raw(row + offset, values) for offset, values in enumerate(rows))
            row += len(rows)


def _raw(row: int, values: dict[str, object]) -> RawRow:
    raw = RawRow(row=row, values={})
    known: dict[str, object] = {}
    for name, value in values.items():
        if name not in FIELDS:
            raw.kept[name] = value
        elif value is not None:
            known[name] = _plain_map(value) if name == "tags" else value
    raw.values = known
    return raw


def _plain_map(value: object) -> object:
    """A map column comes as pairs, a struct column with None for the keys that a row lacks."""
    pairs = value.items() if isinstance(value, dict) else value
    return {key: item for key, item in pairs if item is not None}  # type: ignore[attr-defined]


def _open(path: Path, uri: str) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path, memory_map=False, pre_buffer=False, buffer_size=2**20)
    except (pa.ArrowException, OSError) as error:
        raise ManifestError(f"{uri} is not readable as Parquet, or truncated: {_first_line(error)}") from error


def _next(batches: Iterator[pa.RecordBatch], uri: str) -> list[dict[str, object]]:
    """The rows of the next batch that has any; none at the file's end."""
    try:
        return next((batch.to_pylist() for batch in batches if batch.num_rows), [])
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise ManifestError(f"{uri} cannot be read to its end: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return str(error).split("\n", 1)[0][:200]


def _holds(kind: pa.DataType, expected: Kind) -> bool:
    """Whether a column of that type can hold what is expected; a column of nulls can hold anything."""
    types = pa.types
    if types.is_null(kind):
        return True
    if types.is_dictionary(kind):
        return _holds(kind.value_type, expected)
    match expected:
        case Kind.TEXT:
            return _is_text(kind)
        case Kind.WHOLE | Kind.NUMBER:  # whole numbers with gaps come as floats; each row is checked
            return bool(types.is_integer(kind) or types.is_floating(kind))
        case Kind.MAP if types.is_struct(kind):
            return all(
                _is_text(kind.field(i).type) or types.is_null(kind.field(i).type) for i in range(kind.num_fields)
            )
        case Kind.MAP:
            return bool(types.is_map(kind)) and _is_text(kind.key_type) and _is_text(kind.item_type)
        case Kind.LIST:
            is_list = types.is_list(kind) or types.is_large_list(kind)
            return bool(is_list and (types.is_struct(kind.value_type) or types.is_null(kind.value_type)))


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))
