"""Reads what kind of Wan a folder holds from its configuration files: diffusers' layout or the official one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from farm.errors import ModelError
from farm.models.dims import UMT5_XXL, VAE_2_1, VAE_2_2, DiTDims, ModelDims, TextDims, VAEDims

DEFAULTS_FILE = "sampling_defaults.json"
DIFFUSERS, OFFICIAL = "diffusers", "official"
NO_MODEL = "it has neither model_index.json (diffusers) nor config.json (official layout)"


def layout_of(path: Path) -> str | None:
    """The layout of a model folder, None where the folder is no model."""
    if (path / "model_index.json").is_file():
        return DIFFUSERS
    if any((path / place / "config.json").is_file() for place in ("", "high_noise_model")):
        return OFFICIAL
    return None


def read_dims(path: Path) -> ModelDims:
    """Dimensions of the model in a folder. ModelError where it is none, or its configuration cannot be read."""
    layout = layout_of(path)
    if layout is None:
        raise ModelError(f"{path} is not a model folder: {NO_MODEL}")
    try:
        return _read_diffusers(path) if layout == DIFFUSERS else _read_official(path)
    except (KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"the configuration of the model in {path} lacks or misstates {error}") from error


def _read_diffusers(path: Path) -> ModelDims:
    index = _json(path / "model_index.json")
    num_experts = 2 if (index.get("transformer_2") or [None])[0] else 1
    dit, vae, text = (_json(path / name / "config.json") for name in ("transformer", "vae", "text_encoder"))
    return ModelDims(
        dit=DiTDims(
            dim=dit["num_attention_heads"] * dit["attention_head_dim"],
            ffn_dim=dit["ffn_dim"],
            num_heads=dit["num_attention_heads"],
            num_layers=dit["num_layers"],
            in_channels=dit["in_channels"],
            out_channels=dit["out_channels"],
            image_dim=dit.get("image_dim"),
            image_tokens=dit.get("pos_embed_seq_len"),
            num_vace_layers=len(dit.get("vace_layers") or ()),
        ),
        vae=VAEDims(
            decoder_dim=vae.get("decoder_base_dim") or vae["base_dim"],
            z_dim=vae["z_dim"],
            dim_mult=tuple(vae["dim_mult"]),
            num_res_blocks=vae["num_res_blocks"],
            temporal_downsample=tuple(vae["temperal_downsample"]),  # diffusers' spelling
            patch_size=vae.get("patch_size") or 1,
        ),
        text=TextDims(**{name: text[name] for name in TextDims.__dataclass_fields__}),
        num_experts=num_experts,
        expand_timesteps=bool(index.get("expand_timesteps", False)),
        boundary=_boundary(path, index, of_image=dit["in_channels"] != dit["out_channels"])
        if num_experts > 1
        else None,
    )


def _read_official(path: Path) -> ModelDims:
    """The official folders say nothing of the VAE and the text encoder: there is one of each per generation."""
    has_experts = (path / "high_noise_model" / "config.json").is_file()
    dit = _json(path / "high_noise_model" / "config.json" if has_experts else path / "config.json")
    kind = dit.get("model_type")
    takes_clip = kind in ("i2v", "flf2v") and not has_experts
    return ModelDims(
        dit=DiTDims(
            dim=dit["dim"],
            ffn_dim=dit["ffn_dim"],
            num_heads=dit["num_heads"],
            num_layers=dit["num_layers"],
            in_channels=dit["in_dim"],
            out_channels=dit["out_dim"],
            image_dim=1280 if takes_clip else None,
            image_tokens=514 if kind == "flf2v" else None,
            num_vace_layers=len(dit.get("vace_layers") or ()),
        ),
        vae=VAE_2_2 if dit["out_dim"] == VAE_2_2.z_dim else VAE_2_1,
        text=UMT5_XXL,
        num_experts=2 if has_experts else 1,
        expand_timesteps=kind == "ti2v",
        boundary=_boundary(path, {}, of_image=dit["in_dim"] != dit["out_dim"]) if has_experts else None,
    )


def _boundary(path: Path, index: dict[str, Any], *, of_image: bool) -> float:
    """The folder's own, else A14B's: 0.9 where first frames come as extra channels, 0.875 from text."""
    own = _json(path / DEFAULTS_FILE).get("boundary") if (path / DEFAULTS_FILE).is_file() else None
    told = (index.get("boundary_ratio"), own, 0.9 if of_image else 0.875)
    return float(next(boundary for boundary in told if boundary is not None))


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ModelError(f"cannot read the model's {path}: {error}") from error
    if not isinstance(value, dict):
        raise ModelError(f"cannot read the model's {path}: it holds no JSON object")
    return value
