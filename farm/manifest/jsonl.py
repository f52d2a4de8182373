"""Manifests in JSON Lines: every line stands for itself, so what is wrong with one is a fault of that row."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from farm.errors import ManifestError
from farm.manifest.rows import RawRow
from farm.request import FIELDS

MAX_LINE_BYTES = 16 * 2**20


def read_rows(path: Path, *, uri: str, first_row: int, keep_columns: bool) -> Iterator[RawRow]:
    """The rows of one file, blank lines left out.

    ManifestError where it is cut off in mid-line, is no text, or holds not one line that is JSON.
    """
    row, is_json = first_row, False
    for number, line, is_last in _lines(path, uri):
        values, fault = _parsed(line)
        if fault is not None:
            if is_last:
                raise ManifestError(f"{uri} is truncated: its last line, {number}, {fault} and has no line end")
            yield RawRow(row=row, values=None, faults=[f"line {number} {fault}"])
        else:
            is_json = True
            kept = {key: value for key, value in values.items() if key not in FIELDS} if keep_columns else {}
            known = {key: value for key, value in values.items() if key not in kept} if kept else values
            yield RawRow(row=row, values=known, kept=kept)
        row += 1
    if row > first_row and not is_json:
        raise ManifestError(f"{uri} is no JSON Lines file: not one of its lines holds a JSON object")


def _lines(path: Path, uri: str) -> Iterator[tuple[int, str, bool]]:
    """(line number from 1, text, whether it is an unfinished last line) of all lines that are not blank."""
    number = 0
    with path.open("rb") as file:
        while line := file.readline(MAX_LINE_BYTES + 1):
            number += 1
            if len(line) > MAX_LINE_BYTES:
                raise ManifestError(f"{uri} is no JSON Lines file: line {number} is longer than {MAX_LINE_BYTES} bytes")
            try:
                text = line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise ManifestError(f"{uri} is not UTF-8 text: line {number}, byte {error.start}") from error
            if text.strip():
                yield number, text, not text.endswith("\n")


def _parsed(line: str) -> tuple[dict[str, object], str | None]:
    """The line's object, or what it is instead."""
    try:
        value = json.loads(line)
        if "\\u" in line:
            json.dumps(value, ensure_ascii=False).encode()  # half a surrogate pair is JSON, but no text
    except UnicodeEncodeError:
        return {}, "holds half a character (a lone surrogate)"
    except RecursionError:
        return {}, "is nested too deeply"
    except ValueError as error:
        return {}, f"is not JSON ({error})"
    return (value, None) if isinstance(value, dict) else ({}, "is not a JSON object")
