"""Files of tensors: what they hold, told by their headers, and reading them one tensor at a time.

safetensors headers are read without torch, so that a checkpoint of any size can be described in milliseconds. A tensor
is a private mapping of its own piece of the file: kept as it is, its pages come in when they are used and are shared by
all processes that map them; converted, the mapping goes at once and leaves only the copy.
"""

from __future__ import annotations

import json
import math
import mmap
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wan_model.errors import CorruptFileError, LayoutError

if TYPE_CHECKING:
    from torch import Tensor

DTYPES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}
_ITEM_SIZES = {"float64": 8, "float32": 4, "float16": 2, "bfloat16": 2}
_MAX_HEADER_BYTES = 100_000_000  # the limit of the safetensors library
_PTH_WINDOW_BYTES = 32 * 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """Where one tensor lies. `offset` counts from the file's start; None in a `.pth`, which torch reads."""

    path: Path
    name: str
    shape: tuple[int, ...]
    dtype: str
    offset: int | None

    @property
    def num_elements(self) -> int:
        return math.prod(self.shape)

    @property
    def size_bytes(self) -> int:
        return self.num_elements * _ITEM_SIZES[self.dtype]


def list_tensors(paths: Iterable[Path]) -> dict[str, Entry]:
    """The tensors of `.safetensors` and `.pth` files, by name.

    Raises:
        CorruptFileError: a file is truncated or is not what its name says.
        LayoutError: two files hold one name, or a dtype is not a plain float.
    """
    tensors: dict[str, Entry] = {}
    for path in paths:
        found = _list_pth(path) if path.suffix in {".pth", ".pt"} else _list_safetensors(path)
        doubled = tensors.keys() & found.keys()
        if doubled:
            raise LayoutError(f"{path} holds tensors that another file holds too: {', '.join(sorted(doubled)[:8])}")
        tensors |= found
    return tensors


def read_tensors(entries: Iterable[Entry]) -> Iterator[tuple[Entry, Tensor]]:
    """Yields each tensor on the CPU as it is stored, in the files' own order. Let go of one before the next."""
    for path, group in groupby(sorted(entries, key=_place), key=lambda entry: entry.path):
        if path.suffix in {".pth", ".pt"}:
            yield from _read_pth(path, list(group))
        else:
            yield from _read_safetensors(path, group)


def _place(entry: Entry) -> tuple[Path, int]:
    return entry.path, entry.offset or 0


def _list_safetensors(path: Path) -> dict[str, Entry]:
    text = _safetensors_header(path)
    try:
        described = {name: value for name, value in json.loads(text).items() if name != "__metadata__"}
        entries = {name: _entry(path, name, value, 8 + len(text)) for name, value in described.items()}
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise CorruptFileError(path, f"the safetensors header cannot be read: {error!r}") from error
    end = max(((entry.offset or 0) + entry.size_bytes for entry in entries.values()), default=0)
    if (size := path.stat().st_size) < end:
        raise CorruptFileError(path, f"truncated: {size} bytes, its header needs {end}")
    return entries


def _safetensors_header(path: Path) -> bytes:
    with path.open("rb") as file:
        prefix = file.read(8)
        length = struct.unpack("<Q", prefix)[0] if len(prefix) == 8 else 0
        text = file.read(length) if 0 < length <= _MAX_HEADER_BYTES else b""
    if not text or len(text) < length:
        raise CorruptFileError(path, "no safetensors header; truncated, or not a safetensors file")
    return text


def _entry(path: Path, name: str, described: Mapping[str, Any], start: int) -> Entry:
    dtype = DTYPES.get(described["dtype"])
    if dtype is None:
        raise LayoutError(f"{path}: {name} is {described['dtype']}; only {', '.join(DTYPES)} are read")
    begin, end = described["data_offsets"]
    entry = Entry(path=path, name=name, shape=tuple(described["shape"]), dtype=dtype, offset=start + begin)
    if begin < 0 or entry.size_bytes != end - begin:
        raise ValueError(f"{name} of shape {entry.shape} in {dtype} cannot lie at bytes {begin} to {end}")
    return entry


def _read_safetensors(path: Path, entries: Iterable[Entry]) -> Iterator[tuple[Entry, Tensor]]:
    with path.open("rb") as file:
        for entry in entries:
            yield entry, _mapped(file.fileno(), entry)


def _mapped(descriptor: int, entry: Entry) -> Tensor:
    import torch

    dtype = getattr(torch, entry.dtype)
    if entry.num_elements == 0:
        return torch.empty(entry.shape, dtype=dtype)
    offset = entry.offset or 0
    inside = offset % mmap.ALLOCATIONGRANULARITY
    window = mmap.mmap(descriptor, inside + entry.size_bytes, access=mmap.ACCESS_COPY, offset=offset - inside)
    return torch.frombuffer(window, dtype=dtype, count=entry.num_elements, offset=inside).view(entry.shape)


def _list_pth(path: Path) -> dict[str, Entry]:
    return {
        name: Entry(path=path, name=name, shape=tuple(tensor.shape), dtype=_pth_dtype(path, name, tensor), offset=None)
        for name, tensor in _load_pth(path, "meta").items()
    }


def _pth_dtype(path: Path, name: str, tensor: Tensor) -> str:
    dtype = str(tensor.dtype).removeprefix("torch.")
    if dtype not in _ITEM_SIZES:
        raise LayoutError(f"{path}: {name} is {dtype}; only {', '.join(_ITEM_SIZES)} are read")
    return dtype


def _read_pth(path: Path, entries: list[Entry]) -> Iterator[tuple[Entry, Tensor]]:
    """torch maps the whole file; mapping it anew for each window lets go of the pages that were converted."""
    while entries:
        loaded, taken = _load_pth(path, "cpu"), 0
        while entries and taken < _PTH_WINDOW_BYTES:
            entry = entries.pop(0)
            taken += entry.size_bytes
            yield entry, loaded.pop(entry.name)


def _load_pth(path: Path, device: str) -> dict[str, Tensor]:
    import pickle

    import torch

    try:
        loaded = torch.load(path, map_location=device, weights_only=True, mmap=True)
    except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
        reason = str(error).splitlines()[0]
        raise CorruptFileError(path, f"torch cannot read it (truncated, or not plain weights): {reason}") from error
    if not isinstance(loaded, dict) or not all(isinstance(value, torch.Tensor) for value in loaded.values()):
        raise LayoutError(f"{path}: not a plain mapping of names to tensors")
    return loaded
