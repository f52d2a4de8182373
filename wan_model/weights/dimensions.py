"""A model's dimensions, from its own configuration files or, where it has none, from the shapes of its tensors."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

from wan_model.config import DiTConfig, TextConfig, VAEConfig
from wan_model.errors import LayoutError
from wan_model.variants import VAE_2_1, VAE_2_2
from wan_model.weights.layouts import Json

Shapes = Mapping[str, tuple[int, ...]]

_HEAD_DIM = 128  # of every official DiT: shapes alone don't tell
_OFFICIAL_NAMES = {"dim": "dim", "ffn_dim": "ffn_dim", "num_heads": "num_heads", "num_layers": "num_layers"} | {
    "in_dim": "in_channels", "out_dim": "out_channels", "freq_dim": "freq_dim", "text_len": "text_len", "eps": "eps"
}  # fmt: skip
_STATISTICS = {vae.z_dim: (vae.latents_mean, vae.latents_std) for vae in (VAE_2_1, VAE_2_2)}


def dit_from_diffusers(config: Json) -> DiTConfig:
    """`transformer/config.json`."""
    vace_layers = tuple(config.get("vace_layers") or ())
    return DiTConfig(
        dim=config["num_attention_heads"] * config["attention_head_dim"],
        ffn_dim=config["ffn_dim"],
        num_heads=config["num_attention_heads"],
        num_layers=config["num_layers"],
        in_channels=config["in_channels"],
        out_channels=config.get("out_channels") or config["in_channels"],
        text_dim=config["text_dim"],
        freq_dim=config["freq_dim"],
        patch_size=_triple(config["patch_size"]),
        eps=config["eps"],
        image_dim=config.get("image_dim"),
        image_tokens=config.get("pos_embed_seq_len"),
        vace_layers=vace_layers,
        vace_in_channels=config["vace_in_channels"] if vace_layers else None,
    )


def dit_from_official(shapes: Shapes, config: Json) -> DiTConfig:
    """The shapes of official names, overruled by the official `config.json` where there is one."""
    dim, in_channels, *patch = shapes["patch_embedding.weight"]
    dims: dict[str, Any] = {
        "dim": dim,
        "ffn_dim": shapes["blocks.0.ffn.0.weight"][0],
        "num_heads": max(dim // _HEAD_DIM, 1),
        "num_layers": _count(shapes, r"blocks\.(\d+)\..*"),
        "in_channels": in_channels,
        "out_channels": shapes["head.head.weight"][0] // math.prod(patch),
        "freq_dim": shapes["time_embedding.0.weight"][1],
    }
    dims |= {ours: config[theirs] for theirs, ours in _OFFICIAL_NAMES.items() if theirs in config}
    return DiTConfig(
        **dims,
        patch_size=_triple(patch),
        text_dim=shapes["text_embedding.0.weight"][1],
        image_dim=shapes["img_emb.proj.0.weight"][0] if "img_emb.proj.0.weight" in shapes else None,
        image_tokens=shapes["img_emb.emb_pos"][1] if "img_emb.emb_pos" in shapes else None,
        vace_layers=_vace_layers(shapes, config, dims["num_layers"]),
        vace_in_channels=shapes["vace_patch_embedding.weight"][1] if "vace_patch_embedding.weight" in shapes else None,
    )


def _vace_layers(shapes: Shapes, config: Json, num_layers: int) -> tuple[int, ...]:
    """The config's, or as many as there are, spread evenly as in both official models."""
    count = _count(shapes, r"vace_blocks\.(\d+)\..*")
    if not count:
        return ()
    return tuple(config.get("vace_layers") or range(0, num_layers, num_layers // count))


def vae_from_diffusers(config: Json) -> VAEConfig:
    """`vae/config.json`; the files of 2.1 leave out what only 2.2 needs."""
    return VAEConfig(
        encoder_dim=config["base_dim"],
        decoder_dim=config.get("decoder_base_dim") or config["base_dim"],
        z_dim=config["z_dim"],
        dim_mult=tuple(config["dim_mult"]),
        num_res_blocks=config["num_res_blocks"],
        temporal_downsample=tuple(config["temperal_downsample"]),
        is_residual=config.get("is_residual", False),
        patch_size=config.get("patch_size") or 1,
        latents_mean=tuple(config["latents_mean"]),
        latents_std=tuple(config["latents_std"]),
    )


def vae_from_official(shapes: Shapes) -> VAEConfig:
    """The shapes of official names; the latents' statistics are those of the generation with as many channels."""
    z_dim = shapes["conv2.weight"][0]
    if z_dim not in _STATISTICS:
        raise LayoutError(f"a VAE of {z_dim} latent channels without a config: their mean and deviation are unknown")
    mean, std = _STATISTICS[z_dim]
    base, in_channels = shapes["encoder.conv1.weight"][:2]
    is_residual = "encoder.downsamples.0.downsamples.0.residual.2.weight" in shapes
    stages = _nested_stages(shapes) if is_residual else _flat_stages(shapes)
    return VAEConfig(
        encoder_dim=base,
        decoder_dim=shapes["decoder.head.2.weight"][1] * base // stages[0][0],
        z_dim=z_dim,
        dim_mult=tuple(width // base for width, _, _ in stages),
        num_res_blocks=stages[0][1],
        temporal_downsample=tuple(is_temporal for _, _, is_temporal in stages[:-1]),
        is_residual=is_residual,
        patch_size=math.isqrt(in_channels // 3),
        latents_mean=mean,
        latents_std=std,
    )


_Stage = tuple[int, int, bool]
"""Channels, residual blocks, and whether the stage halves the frames."""


def _nested_stages(shapes: Shapes) -> list[_Stage]:
    """Generation 2.2: encoder.downsamples.<stage>.downsamples.<block>."""
    stages = range(_count(shapes, r"encoder\.downsamples\.(\d+)\..*"))
    return [_stage(shapes, f"encoder.downsamples.{stage}.downsamples", range(9)) for stage in stages]


def _flat_stages(shapes: Shapes) -> list[_Stage]:
    """Generation 2.1: encoder.downsamples.<block>, the resamplings between the stages."""
    count, stages, blocks = _count(shapes, r"encoder\.downsamples\.(\d+)\..*"), [], []
    for block in range(count):
        blocks.append(block)
        if f"encoder.downsamples.{block}.resample.1.weight" in shapes or block == count - 1:
            stages.append(_stage(shapes, "encoder.downsamples", blocks))
            blocks = []
    return stages


def _stage(shapes: Shapes, prefix: str, blocks: Iterable[int]) -> _Stage:
    residual = [block for block in blocks if f"{prefix}.{block}.residual.6.weight" in shapes]
    width = shapes[f"{prefix}.{residual[0]}.residual.6.weight"][0]
    return width, len(residual), f"{prefix}.{residual[-1] + 1}.time_conv.weight" in shapes


def text_from_config(config: Json) -> TextConfig:
    """`text_encoder/config.json` of transformers."""
    names = ("vocab_size", "d_model", "d_ff", "num_heads", "d_kv", "num_layers")
    optional = ("relative_attention_num_buckets", "relative_attention_max_distance")
    return TextConfig(
        **{name: config[name] for name in names}, **{name: config[name] for name in optional if name in config}
    )


def text_from_shapes(shapes: Shapes) -> TextConfig:
    """The shapes of transformers' names."""
    attention = "encoder.block.0.layer.0.SelfAttention"
    buckets, num_heads = shapes[f"{attention}.relative_attention_bias.weight"]
    vocab_size, d_model = shapes["shared.weight"]
    return TextConfig(
        vocab_size=vocab_size,
        d_model=d_model,
        d_ff=shapes["encoder.block.0.layer.1.DenseReluDense.wi_0.weight"][0],
        num_heads=num_heads,
        d_kv=shapes[f"{attention}.q.weight"][0] // num_heads,
        num_layers=_count(shapes, r"encoder\.block\.(\d+)\..*"),
        relative_attention_num_buckets=buckets,
    )


def _count(names: Iterable[str], pattern: str) -> int:
    """One more than the largest number that the pattern's group finds; 0 without any."""
    matches = (re.fullmatch(pattern, name) for name in names)
    return max((int(match[1]) + 1 for match in matches if match), default=0)


def _triple(values: Iterable[int]) -> tuple[int, int, int]:
    t, h, w = values
    return t, h, w
