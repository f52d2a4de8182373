"""The VAE's parameter names: the official ones, which this package uses, and those of diffusers' `AutoencoderKLWan`.

Pure functions of a name and the configuration. Source: diffusers `scripts/convert_wan_to_diffusers.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

from wan_model.config import VAEConfig

_RESIDUAL_BLOCK = {
    "residual.0": "norm1",
    "residual.2": "conv1",
    "residual.3": "norm2",
    "residual.6": "conv2",
    "shortcut": "conv_shortcut",
}
_ATTENTION = {name: name for name in ("norm", "to_qkv", "proj")}
_RESAMPLE = {name: name for name in ("resample.1", "time_conv")}
_ENDS = {"conv1": "conv_in", "head.0": "norm_out", "head.2": "conv_out"}
_MIDDLE = {"middle.0": "mid_block.resnets.0", "middle.2": "mid_block.resnets.1"}


def to_official(key: str, config: VAEConfig) -> str:
    """diffusers' parameter name -> official. Raises KeyError for a name that no VAE of this shape has."""
    return _translate(key, _official_modules(config))


def to_diffusers(key: str, config: VAEConfig) -> str:
    """Official parameter name -> diffusers'. Raises KeyError for a name that no VAE of this shape has."""
    return _translate(key, _diffusers_modules(config))


def _translate(key: str, modules: dict[str, str]) -> str:
    module, _, parameter = key.rpartition(".")
    if module not in modules:
        raise KeyError(key)
    return f"{modules[module]}.{parameter}"


@cache
def _diffusers_modules(config: VAEConfig) -> dict[str, str]:
    return dict(_modules(config))


@cache
def _official_modules(config: VAEConfig) -> dict[str, str]:
    return {diffusers: official for official, diffusers in _modules(config)}


def _modules(config: VAEConfig) -> Iterator[tuple[str, str]]:
    """(official, diffusers) name of each module that holds parameters."""
    yield from (("conv1", "quant_conv"), ("conv2", "post_quant_conv"))
    for coder in ("encoder", "decoder"):
        yield from _inside(coder, coder, _ENDS)
        for official, diffusers in _MIDDLE.items():
            yield from _inside(f"{coder}.{official}", f"{coder}.{diffusers}", _RESIDUAL_BLOCK)
        yield from _inside(f"{coder}.middle.1", f"{coder}.mid_block.attentions.0", _ATTENTION)
    for official, diffusers, parts in _stage_blocks(config):
        yield from _inside(official, diffusers, parts)


def _inside(official: str, diffusers: str, parts: dict[str, str]) -> Iterator[tuple[str, str]]:
    for official_part, diffusers_part in parts.items():
        yield f"{official}.{official_part}", f"{diffusers}.{diffusers_part}"


def _stage_blocks(config: VAEConfig) -> Iterator[tuple[str, str, dict[str, str]]]:
    """Each stage's residual blocks, then its resampling: official and diffusers name, and the parts within."""
    num_down, num_up = config.num_res_blocks, config.num_res_blocks + 1
    last = len(config.dim_mult) - 1
    for stage in range(last + 1):
        for block in range(num_down + (stage < last)):
            parts = _RESIDUAL_BLOCK if block < num_down else _RESAMPLE
            yield *_encoder_block(config, stage, block), parts
        for block in range(num_up + (stage < last)):
            parts = _RESIDUAL_BLOCK if block < num_up else _RESAMPLE
            yield *_decoder_block(config, stage, block), parts


def _encoder_block(config: VAEConfig, stage: int, block: int) -> tuple[str, str]:
    if not config.is_residual:
        flat = stage * (config.num_res_blocks + 1) + block
        return f"encoder.downsamples.{flat}", f"encoder.down_blocks.{flat}"
    part = f"resnets.{block}" if block < config.num_res_blocks else "downsampler"
    return f"encoder.downsamples.{stage}.downsamples.{block}", f"encoder.down_blocks.{stage}.{part}"


def _decoder_block(config: VAEConfig, stage: int, block: int) -> tuple[str, str]:
    is_resnet = block <= config.num_res_blocks
    if not config.is_residual:
        part = f"resnets.{block}" if is_resnet else "upsamplers.0"
        return f"decoder.upsamples.{stage * (config.num_res_blocks + 2) + block}", f"decoder.up_blocks.{stage}.{part}"
    part = f"resnets.{block}" if is_resnet else "upsampler"
    return f"decoder.upsamples.{stage}.upsamples.{block}", f"decoder.up_blocks.{stage}.{part}"
