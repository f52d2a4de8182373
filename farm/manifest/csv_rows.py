"""Manifests in CSV: UTF-8, a header, commas; maps and lists as JSON; an empty cell is an absent value."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path

from farm.errors import ManifestError
from farm.manifest.rows import Kind, RawRow, column_names_faults, kind_of, refuse_columns
from farm.request import FIELDS

MAX_CELL_CHARS = 16 * 2**20


def check_columns(path: Path, *, uri: str, keep_columns: bool) -> None:
    """Raises ManifestError naming every column that is unknown or missing, or none of whose cells fits its type."""
    rows = _cells(path, uri)
    header = next(rows, [])
    faults = column_names_faults(header, keep_columns=keep_columns)
    tried: dict[str, str] = {}
    fitting: set[str] = set()
    for cells in rows if header else ():
        for name, cell in zip(header, cells, strict=False):
            if cell and name in FIELDS and name not in fitting and kind_of(name) is not Kind.TEXT:
                tried.setdefault(name, cell)
                if _value(name, cell)[1]:
                    fitting.add(name)
    faults += [
        f"{name}: holds {cell[:40]!r}, expected {kind_of(name).value}"
        for name, cell in tried.items()
        if name not in fitting
    ]
    refuse_columns(faults, uri=uri)


def read_rows(path: Path, *, uri: str, first_row: int) -> Iterator[RawRow]:
    """The rows of one file. ManifestError where it is cut off inside a quoted cell or is no text at all."""
    rows = _cells(path, uri)
    header = next(rows, [])
    for row, cells in enumerate(rows, start=first_row):
        if len(cells) != len(header):
            yield RawRow(row=row, values=None, faults=[f"has {len(cells)} cells, the header has {len(header)}"])
        else:
            yield _raw(row, header, cells)


def _raw(row: int, header: list[str], cells: list[str]) -> RawRow:
    known: dict[str, object] = {}
    kept: dict[str, object] = {}
    for name, cell in zip(header, cells, strict=True):
        if name not in FIELDS:
            kept[name] = cell or None
        elif cell:
            known[name] = _value(name, cell)[0]
    return RawRow(row=row, values=known, kept=kept)


def _value(name: str, cell: str) -> tuple[object, bool]:
    """A cell as its column's type and True, or the text itself (which the row's check then refuses) and False."""
    kind = kind_of(name)
    if kind is Kind.TEXT:
        return cell, True
    try:
        if kind in (Kind.MAP, Kind.LIST):
            value = json.loads(cell)
            return value, isinstance(value, dict if kind is Kind.MAP else list)
        return _number(cell), True
    except (ValueError, RecursionError):
        return cell, False


def _number(cell: str) -> int | float:
    if "_" in cell:
        raise ValueError("Python's digit grouping is not CSV's")
    try:
        return int(cell)
    except ValueError:
        return float(cell)


def _cells(path: Path, uri: str) -> Iterator[list[str]]:
    """The file's records, header first, blank lines left out."""
    csv.field_size_limit(MAX_CELL_CHARS)  # the default, 131072, would refuse a file for one overlong prompt
    with path.open(encoding="utf-8-sig", newline="") as file:
        records = csv.reader(file, strict=True)
        while True:
            try:
                cells = next(records, None)
            except UnicodeDecodeError as error:
                raise ManifestError(f"{uri} is not UTF-8 text, after line {records.line_num}") from error
            except csv.Error as error:
                raise ManifestError(f"{uri} is not readable as CSV, line {records.line_num}: {error}") from error
            if cells is None:
                return
            if cells:
                yield cells
