"""safetensors files of any size that hold a header and a hole: for code that reads shapes only."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path

ITEM_SIZES = {"F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "I64": 8}


def write_sparse(path: Path, shapes: Mapping[str, tuple[int, ...]], *, dtype: str = "BF16") -> Path:
    """Writes the header of such tensors and lets the file be as long as they would make it."""
    header, end = {}, 0
    for name, shape in shapes.items():
        begin, end = end, end + math.prod(shape) * ITEM_SIZES[dtype]
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + end)
    return path
