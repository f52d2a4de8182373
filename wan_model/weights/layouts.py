"""Which files of a path hold which part of the model: diffusers folders, official folders, single files of a DiT."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from wan_model.errors import CorruptFileError, LayoutError

Layout = Literal["diffusers", "official", "single-file"]
Json = Mapping[str, Any]

DEFAULTS_FILE = "sampling_defaults.json"
"""Ours, beside model_index.json: the model's name and its sampling defaults. diffusers does not look at it."""

_DIFFUSERS_FOLDERS = {"dit": "transformer", "low_dit": "transformer_2", "vae": "vae", "text": "text_encoder"}
_STEM, _STEMS = "diffusion_pytorch_model", {"text": "model"}
_EXPECTED = "a diffusers folder (model_index.json), an official Wan folder, or a .safetensors or .pth file of a DiT"


@dataclass(frozen=True, slots=True, kw_only=True)
class ComponentFiles:
    """The weights of one network, and its own config.json where there is one."""

    files: tuple[Path, ...]
    config: Json | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointFiles:
    """`components` has some of dit, low_dit, vae, text. The JSON files are empty mappings where they are absent."""

    path: Path
    layout: Layout
    components: Mapping[str, ComponentFiles]
    tokenizer: Path | None = None
    model_index: Json = field(default_factory=dict)
    scheduler: Json = field(default_factory=dict)
    defaults: Json = field(default_factory=dict)


def find_files(path: Path) -> CheckpointFiles:
    """Sorts the files of a checkpoint. Raises `LayoutError` for a path that is none."""
    if path.is_file() and path.suffix in {".safetensors", ".pth", ".pt"}:
        return CheckpointFiles(path=path, layout="single-file", components={"dit": ComponentFiles(files=(path,))})
    if (path / "model_index.json").is_file():
        return _diffusers(path)
    components = _official_components(path) if path.is_dir() else {}
    if components:
        tokenizer = path / "google" / "umt5-xxl"
        return CheckpointFiles(
            path=path,
            layout="official",
            components=components,
            tokenizer=tokenizer if tokenizer.is_dir() else None,
            defaults=_json(path / DEFAULTS_FILE),
        )
    found = "nothing there" if not path.exists() else "empty" if _is_empty(path) else "no file of a kind known"
    raise LayoutError(f"{path}: {found}; expected {_EXPECTED}")


def _diffusers(path: Path) -> CheckpointFiles:
    components = {
        name: ComponentFiles(
            files=_weights(path / folder, _STEMS.get(name, _STEM)), config=_json(path / folder / "config.json")
        )
        for name, folder in _DIFFUSERS_FOLDERS.items()
        if (path / folder).is_dir()
    }
    tokenizer = path / "tokenizer"
    return CheckpointFiles(
        path=path,
        layout="diffusers",
        components=components,
        tokenizer=tokenizer if tokenizer.is_dir() else None,
        model_index=_json(path / "model_index.json"),
        scheduler=_json(path / "scheduler" / "scheduler_config.json"),
        defaults=_json(path / DEFAULTS_FILE),
    )


def _official_components(path: Path) -> dict[str, ComponentFiles]:
    dits = {"dit": path / "high_noise_model", "low_dit": path / "low_noise_model"}
    if not dits["dit"].is_dir():
        dits = {"dit": path}
    components = {
        name: ComponentFiles(files=_weights(folder, _STEM), config=_json(folder / "config.json") or None)
        for name, folder in dits.items()
        if any(folder.glob(f"{_STEM}*.safetensors*"))
    }
    for name, pattern in (("vae", "Wan*_VAE.*"), ("text", "models_t5_umt5-xxl-enc-*")):
        files = sorted(file for file in path.glob(pattern) if file.suffix in {".pth", ".safetensors"})
        if files:
            components[name] = ComponentFiles(files=(files[0],))
    return components


def _weights(folder: Path, stem: str) -> tuple[Path, ...]:
    """The shards that an index names, or the one safetensors file."""
    index, whole = folder / f"{stem}.safetensors.index.json", folder / f"{stem}.safetensors"
    if index.is_file():
        shards = sorted(set(_json(index).get("weight_map", {}).values()))
        missing = [shard for shard in shards if not (folder / shard).is_file()]
        if missing or not shards:
            raise LayoutError(f"{index} names files that are not there: {', '.join(missing) or 'none at all'}")
        return tuple(folder / shard for shard in shards)
    if not whole.is_file():
        raise LayoutError(f"{folder}: neither {whole.name} nor {index.name}")
    return (whole,)


def _json(path: Path) -> dict[str, Any]:
    """A file's JSON object; empty where the file is absent."""
    if not path.is_file():
        return {}
    try:
        parsed = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CorruptFileError(path, f"not JSON: {error}") from error
    if not isinstance(parsed, dict):
        raise CorruptFileError(path, "not a JSON object")
    return parsed


def _is_empty(path: Path) -> bool:
    return path.is_dir() and not any(path.iterdir())
