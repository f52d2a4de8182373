"""A model folder with configurations but no real weights: enough for the planner, and for the fake backend."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

DIT = {
    "num_attention_heads": 4,
    "attention_head_dim": 8,
    "ffn_dim": 64,
    "num_layers": 2,
    "in_channels": 16,
    "out_channels": 16,
}
VAE = {
    "base_dim": 8,
    "decoder_base_dim": 8,
    "z_dim": 16,
    "dim_mult": [1, 2, 2],
    "num_res_blocks": 1,
    "temperal_downsample": [True, True],
    "patch_size": 2,
    "is_residual": True,
}
TEXT = {"vocab_size": 256, "d_model": 32, "d_ff": 64, "num_heads": 4, "d_kv": 8, "num_layers": 2}
PARTS: dict[str, dict[str, Any]] = {"transformer": DIT, "vae": VAE, "text_encoder": TEXT}


def write_fake_folder(folder: Path) -> Path:
    """A diffusers folder of a model that takes first frames, in sizes that are multiples of 16."""
    for part, config in PARTS.items():
        (folder / part).mkdir(parents=True)
        (folder / part / "config.json").write_text(json.dumps(config))
        (folder / part / "model.safetensors").write_bytes(part.encode())
    (folder / "model_index.json").write_text(json.dumps({"expand_timesteps": True}))
    return folder
