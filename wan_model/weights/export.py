"""Writes a model as a diffusers folder, which diffusers' `WanPipeline` and `wan_model.load` both read."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from safetensors.torch import save_file
from torch import Tensor

from wan_model.config import DiTConfig, ModelConfig, SamplingDefaults, TextConfig, VAEConfig
from wan_model.dit.model import WanDiT
from wan_model.vae import WanVAE
from wan_model.vae import keys as vae_keys
from wan_model.weights.keys import dit_to_diffusers
from wan_model.weights.layouts import DEFAULTS_FILE

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase, UMT5EncoderModel

StoredDtype = Literal["float32", "float16", "bfloat16"]

_VERSION = {"_diffusers_version": "0.42.1"}  # the release whose configurations these are
_TIED_TEXT_EMBEDDING = "encoder.embed_tokens.weight"


def export_diffusers(
    folder: Path,
    config: ModelConfig,
    *,
    text: UMT5EncoderModel,
    tokenizer: PreTrainedTokenizerBase,
    dit: WanDiT,
    vae: WanVAE,
    low_dit: WanDiT | None = None,
    dtype: StoredDtype = "float16",
) -> None:
    """Writes each file aside and then in place; `model_index.json`, which makes the folder a checkpoint, comes last."""
    stored = getattr(torch, dtype)
    folder.mkdir(parents=True, exist_ok=True)
    for name, module in {"transformer": dit, "transformer_2": low_dit}.items():
        if module is not None:
            weights = _renamed(module.state_dict(), dit_to_diffusers, stored)
            _write_part(folder / name, "diffusion_pytorch_model", weights, dit_to_config(config.dit))
    weights = _renamed(vae.state_dict(), lambda key: vae_keys.to_diffusers(key, config.vae), stored)
    _write_part(folder / "vae", "diffusion_pytorch_model", weights, vae_to_config(config.vae))
    tensors = {key: tensor for key, tensor in text.state_dict().items() if key != _TIED_TEXT_EMBEDDING}
    _write_part(folder / "text_encoder", "model", _renamed(tensors, str, stored), text_to_config(config.text))
    tokenizer.save_pretrained(folder / "tokenizer")
    write_json(folder / "scheduler" / "scheduler_config.json", scheduler_to_config(config.defaults))
    write_json(folder / DEFAULTS_FILE, {"name": config.name, **asdict(config.defaults)})
    write_json(folder / "model_index.json", model_index(config))


def dit_to_config(config: DiTConfig) -> dict[str, Any]:
    """`transformer/config.json`."""
    is_vace = bool(config.vace_layers)
    vace = {"vace_layers": list(config.vace_layers), "vace_in_channels": config.vace_in_channels}
    return {
        "_class_name": "WanVACETransformer3DModel" if is_vace else "WanTransformer3DModel",
        **_VERSION,
        "patch_size": list(config.patch_size),
        "num_attention_heads": config.num_heads,
        "attention_head_dim": config.head_dim,
        "in_channels": config.in_channels,
        "out_channels": config.out_channels,
        "text_dim": config.text_dim,
        "freq_dim": config.freq_dim,
        "ffn_dim": config.ffn_dim,
        "num_layers": config.num_layers,
        "cross_attn_norm": True,
        "qk_norm": "rms_norm_across_heads",
        "eps": config.eps,
        "image_dim": config.image_dim,
        "added_kv_proj_dim": None if config.image_dim is None else config.dim,
        "rope_max_seq_len": 1024,
        "pos_embed_seq_len": config.image_tokens,
        **(vace if is_vace else {}),
    }


def vae_to_config(config: VAEConfig) -> dict[str, Any]:
    """`vae/config.json`."""
    return {
        "_class_name": "AutoencoderKLWan",
        **_VERSION,
        "base_dim": config.encoder_dim,
        "decoder_base_dim": config.decoder_dim,
        "z_dim": config.z_dim,
        "dim_mult": list(config.dim_mult),
        "num_res_blocks": config.num_res_blocks,
        "attn_scales": [],
        "temperal_downsample": list(config.temporal_downsample),
        "dropout": 0.0,
        "latents_mean": list(config.latents_mean),
        "latents_std": list(config.latents_std),
        "is_residual": config.is_residual,
        "in_channels": 3 * config.patch_size**2,
        "out_channels": 3 * config.patch_size**2,
        "patch_size": config.patch_size if config.patch_size > 1 else None,
        "scale_factor_temporal": config.temporal_stride,
        "scale_factor_spatial": config.spatial_stride,
    }


def text_to_config(config: TextConfig) -> dict[str, Any]:
    """`text_encoder/config.json`."""
    dims = {name: value for name, value in asdict(config).items() if name != "text_len"}
    return {
        "architectures": ["UMT5EncoderModel"],
        "model_type": "umt5",
        **dims,
        "feed_forward_proj": "gated-gelu",
        "layer_norm_epsilon": 1e-6,
        "dropout_rate": 0.0,
        "pad_token_id": 0,
        "eos_token_id": 1,
        "is_encoder_decoder": True,
        "tie_word_embeddings": True,
        "use_cache": False,
    }


def scheduler_to_config(defaults: SamplingDefaults) -> dict[str, Any]:
    """`scheduler/scheduler_config.json`: the model's own solver and shift."""
    if defaults.solver == "euler":
        return {"_class_name": "FlowMatchEulerDiscreteScheduler", **_VERSION, "shift": defaults.shift}
    return {
        "_class_name": "UniPCMultistepScheduler",
        **_VERSION,
        "num_train_timesteps": 1000,
        "prediction_type": "flow_prediction",
        "use_flow_sigmas": True,
        "flow_shift": defaults.shift,
        "solver_order": 2,
        "solver_type": "bh2",
        "predict_x0": True,
        "lower_order_final": True,
        "final_sigmas_type": "zero",
    }


def model_index(config: ModelConfig) -> dict[str, Any]:
    """`model_index.json`."""
    dit_class = dit_to_config(config.dit)["_class_name"]
    return {
        "_class_name": "WanVACEPipeline" if config.dit.vace_layers else "WanPipeline",
        **_VERSION,
        "boundary_ratio": config.defaults.boundary,
        "expand_timesteps": config.expand_timesteps,
        "scheduler": ["diffusers", scheduler_to_config(config.defaults)["_class_name"]],
        "text_encoder": ["transformers", "UMT5EncoderModel"],
        "tokenizer": ["transformers", "PreTrainedTokenizerFast"],
        "transformer": ["diffusers", dit_class],
        "transformer_2": ["diffusers", dit_class] if config.has_low_noise_expert else [None, None],
        "vae": ["diffusers", "AutoencoderKLWan"],
    }


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Indented, in UTF-8, aside and then in place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.part")
    aside.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    aside.replace(path)


def _renamed(
    tensors: Mapping[str, Tensor], rename: Callable[[str], str], dtype: torch.dtype
) -> Iterable[tuple[str, Tensor]]:
    for name, tensor in tensors.items():
        yield rename(name), tensor.detach().to(device="cpu", dtype=dtype).contiguous()


def _write_part(folder: Path, stem: str, weights: Iterable[tuple[str, Tensor]], config: Mapping[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    aside = folder / f".{stem}.part"
    save_file(dict(weights), aside, metadata={"format": "pt"})
    aside.replace(folder / f"{stem}.safetensors")
    write_json(folder / "config.json", config)
