"""Names of parameters: diffusers' and official ones of the DiT, official and transformers' of umT5.

Pure functions of strings, which leave a name that they don't know as it is. The VAE's names stand in
`wan_model.vae.keys`. Sources: diffusers `scripts/convert_wan_to_diffusers.py`; Wan2.1
`wan/modules/{model,vace_model,t5}.py`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

PREFIXES = ("model.diffusion_model.", "diffusion_model.")
"""What ComfyUI's single files put before the official names."""

_EMBEDDERS = {
    "time_embedding.0": "condition_embedder.time_embedder.linear_1",
    "time_embedding.2": "condition_embedder.time_embedder.linear_2",
    "time_projection.1": "condition_embedder.time_proj",
    "text_embedding.0": "condition_embedder.text_embedder.linear_1",
    "text_embedding.2": "condition_embedder.text_embedder.linear_2",
    "img_emb.proj.0": "condition_embedder.image_embedder.norm1",
    "img_emb.proj.1": "condition_embedder.image_embedder.ff.net.0.proj",
    "img_emb.proj.3": "condition_embedder.image_embedder.ff.net.2",
    "img_emb.proj.4": "condition_embedder.image_embedder.norm2",
    "img_emb.emb_pos": "condition_embedder.image_embedder.pos_embed",
    "head.head": "proj_out",
    "head.modulation": "scale_shift_table",
}
# The second norm of a block modulates the feed-forward, the third is that of cross-attention; diffusers numbers them
# in the order in which they run.
_BLOCK = {
    "modulation": "scale_shift_table",
    "norm2": "norm3",
    "norm3": "norm2",
    "ffn.0": "ffn.net.0.proj",
    "ffn.2": "ffn.net.2",
    "before_proj": "proj_in",
    "after_proj": "proj_out",
    **{f"self_attn.{part}": f"attn1.to_{part}" for part in "qkv"},
    **{f"cross_attn.{part}": f"attn2.to_{part}" for part in "qkv"},
    "self_attn.o": "attn1.to_out.0",
    "cross_attn.o": "attn2.to_out.0",
    **{f"self_attn.norm_{part}": f"attn1.norm_{part}" for part in "qk"},
    **{f"cross_attn.norm_{part}": f"attn2.norm_{part}" for part in "qk"},
    "cross_attn.k_img": "attn2.add_k_proj",
    "cross_attn.v_img": "attn2.add_v_proj",
    "cross_attn.norm_k_img": "attn2.norm_added_k",
}
_T5_TOP = {"token_embedding": "shared", "norm": "encoder.final_layer_norm"}
_T5_BLOCK = {
    "norm1": "layer.0.layer_norm",
    **{f"attn.{part}": f"layer.0.SelfAttention.{part}" for part in "qkvo"},
    "pos_embedding.embedding": "layer.0.SelfAttention.relative_attention_bias",
    "norm2": "layer.1.layer_norm",
    "ffn.gate.0": "layer.1.DenseReluDense.wi_0",
    "ffn.fc1": "layer.1.DenseReluDense.wi_1",
    "ffn.fc2": "layer.1.DenseReluDense.wo",
}
_DIT_BLOCK_NAME = re.compile(r"((?:vace_)?blocks\.\d+)\.(.+)")
_T5_BLOCK_NAME = re.compile(r"blocks\.(\d+)\.(.+)")


def dit_to_diffusers(key: str) -> str:
    """Official name of a DiT parameter -> that of `WanTransformer3DModel` or `WanVACETransformer3DModel`."""
    return _dit(key, _EMBEDDERS, _BLOCK)


def dit_to_official(key: str) -> str:
    """The inverse of `dit_to_diffusers`."""
    return _dit(key, _inverse(_EMBEDDERS), _inverse(_BLOCK))


def text_to_transformers(key: str) -> str:
    """Official name of a umT5 parameter (`models_t5_umt5-xxl-enc-bf16.pth`) -> that of `UMT5EncoderModel`."""
    block = _T5_BLOCK_NAME.fullmatch(key)
    return f"encoder.block.{block[1]}.{_module(block[2], _T5_BLOCK)}" if block else _module(key, _T5_TOP)


def common_prefix(keys: Iterable[str]) -> str:
    """The prefix of ComfyUI's single files, or an empty string."""
    names = tuple(keys)
    return next((prefix for prefix in PREFIXES if any(name.startswith(prefix) for name in names)), "")


def is_diffusers_dit(keys: Iterable[str]) -> bool:
    """Whether a DiT's parameters have diffusers' names."""
    return any(key.startswith("condition_embedder.") for key in keys)


def _dit(key: str, embedders: Mapping[str, str], block: Mapping[str, str]) -> str:
    inside = _DIT_BLOCK_NAME.fullmatch(key)
    return f"{inside[1]}.{_module(inside[2], block)}" if inside else _module(key, embedders)


def _module(key: str, names: Mapping[str, str]) -> str:
    """Renames a parameter by its own name or by that of its module."""
    if key in names:
        return names[key]
    module, dot, parameter = key.rpartition(".")
    return f"{names.get(module, module)}{dot}{parameter}"


def _inverse(names: Mapping[str, str]) -> dict[str, str]:
    return {new: old for old, new in names.items()}
