"""Converted weights, written once on a host and mapped by all processes that use them.

Weights whose stored dtype is the wanted one are mapped from their own file, and every process of a host shares their
pages. Those that must be converted would be a private copy in each: here one process writes them to a file, and all map
it. The file is named by what it was made from, so it never goes stale; a folder of old ones may be deleted.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import torch

from wan_model.weights.tensor_files import DTYPES, Entry, list_tensors, read_tensors

_FORMAT = 1
_ALIGNMENT = 64  # bytes: a cache line, and more than any kernel asks for
_PIECE_ELEMENTS = 2**20  # umT5's embedding alone has 2**30
_CODES = {name: code for code, name in DTYPES.items()}


def converted_once(tensors: Mapping[str, Entry], dtypes: Mapping[str, torch.dtype], folder: Path) -> dict[str, Entry]:
    """Where `tensors` lie in `dtypes`: in a file of `folder`, which is written if it is not there yet.

    Processes that ask at the same time wait for the one that writes. Raises OSError where there is no room for it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{_key(tensors, dtypes)}.safetensors"
    with _locked(path.with_suffix(".lock")):
        if not path.exists():
            _write(path, tensors, dtypes)
    return list_tensors([path])


def _key(tensors: Mapping[str, Entry], dtypes: Mapping[str, torch.dtype]) -> str:
    """A digest of the source files' identities and of what is made of which of their tensors."""
    files = {str(entry.path.resolve()): entry.path.stat() for entry in tensors.values()}
    told = {
        "format": _FORMAT,
        "files": {name: [found.st_size, found.st_mtime_ns, found.st_ino] for name, found in files.items()},
        "tensors": {
            name: [str(entry.path.resolve()), entry.name, entry.shape, entry.dtype, entry.offset, _name(dtypes[name])]
            for name, entry in tensors.items()
        },
    }
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:32]


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Alone among the host's processes; a process that dies lets go."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _write(path: Path, tensors: Mapping[str, Entry], dtypes: Mapping[str, torch.dtype]) -> None:
    """A tensor at a time, under another name until it is whole."""
    partial = path.with_suffix(".partial")
    try:
        with partial.open("wb") as file:
            _fill(file, tensors, dtypes)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def _fill(file: BinaryIO, tensors: Mapping[str, Entry], dtypes: Mapping[str, torch.dtype]) -> None:
    header, end = {}, 0
    for name, entry in tensors.items():
        begin, end = end, end + entry.num_elements * dtypes[name].itemsize
        header[name] = {"dtype": _CODES[_name(dtypes[name])], "shape": entry.shape, "data_offsets": (begin, end)}
    text = json.dumps(header).encode()
    text += b" " * (-(8 + len(text)) % _ALIGNMENT)
    file.write(struct.pack("<Q", len(text)) + text)
    names = {id(entry): name for name, entry in tensors.items()}
    for entry, tensor in read_tensors(tensors.values()):
        name = names[id(entry)]
        file.seek(8 + len(text) + header[name]["data_offsets"][0])
        for piece in tensor.contiguous().flatten().split(_PIECE_ELEMENTS):
            file.write(piece.to(dtypes[name]).view(torch.uint8).numpy().data)
        del tensor, piece


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
