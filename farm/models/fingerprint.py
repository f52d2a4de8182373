"""A model's fingerprint: one hash over every file that decides its pixels, so that other weights mean other clips.

Hashing 70 GB takes minutes, so the hashes of a large model are kept beside it (or, where it cannot be written to, in
the cache folder) and hold for as long as path, size and modification time of a file do.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from farm.errors import ModelError

WEIGHTS = (".safetensors", ".pth", ".pt", ".bin", ".ckpt")
# Besides the weights: configurations (the schedule among them) and the tokenizer.
SUFFIXES = (*WEIGHTS, ".json", ".model", ".txt")
CACHE_NAME = ".wanfarm-hashes.json"
SMALL_BYTES = 64 * 2**20  # hashed in less time than it would take to wonder whether a cache is stale

Key = tuple[str, int, int]  # relative path, size, modification time in ns


def fingerprint(folder: Path, *, cache_dir: Path) -> str:
    """64 hex characters over names and contents of all weights, configurations and tokenizer files under a folder.

    ModelError where a file cannot be read or there are no weights at all.
    """
    try:
        keys = [_key(folder, path) for path in sorted(_files(folder))]
        if not any(name.endswith(WEIGHTS) for name, _, _ in keys):
            raise ModelError(f"{folder} holds no weights ({', '.join(WEIGHTS)})")
        hashes = _hashes(folder, keys, cache_dir=cache_dir)
    except OSError as error:
        raise ModelError(f"cannot read the model in {folder}: {error}") from error
    lines = "".join(f"{hashes[key]}  {key[0]}\n" for key in keys)
    return hashlib.sha256(lines.encode()).hexdigest()


def _files(folder: Path) -> Iterator[Path]:
    for root, names, files in os.walk(folder, followlinks=True):
        names[:] = sorted(name for name in names if not name.startswith("."))
        yield from (Path(root, name) for name in files if name.endswith(SUFFIXES) and not name.startswith("."))


def _key(folder: Path, path: Path) -> Key:
    status = path.stat()
    return path.relative_to(folder).as_posix(), status.st_size, status.st_mtime_ns


def _hashes(folder: Path, keys: list[Key], *, cache_dir: Path) -> dict[Key, str]:
    is_small = sum(size for _, size, _ in keys) <= SMALL_BYTES
    places = () if is_small else (folder / CACHE_NAME, _cache_file(folder, cache_dir))
    known = {key: digest for place in reversed(places) for key, digest in _load(place).items()}
    missing = [key for key in keys if key not in known]
    with ThreadPoolExecutor(max_workers=4) as pool:
        known.update(zip(missing, pool.map(_sha256, (folder / name for name, _, _ in missing)), strict=True))
    if missing:
        _save(places, {key: known[key] for key in keys})
    return known


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _cache_file(folder: Path, cache_dir: Path) -> Path:
    name = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:32]
    return cache_dir / "weights" / f"{name}.json"


def _load(place: Path) -> dict[Key, str]:
    """A cache that is absent or damaged is an empty one."""
    try:
        return {(name, size, mtime): digest for name, size, mtime, digest in json.loads(place.read_bytes())}
    except (OSError, ValueError, TypeError):
        return {}


def _save(places: tuple[Path, ...], hashes: dict[Key, str]) -> None:
    """Writes to the first place that can be written; a cache that cannot be kept costs time, not correctness."""
    text = json.dumps([[*key, digest] for key, digest in hashes.items()])
    for place in places:
        aside = place.with_name(f"{place.name}.{os.getpid()}")
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            aside.write_text(text)
            aside.replace(place)
        except OSError:
            continue
        return
