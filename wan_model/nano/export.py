"""Writes the trained nano model as the diffusers folder that the package carries."""

from __future__ import annotations

from pathlib import Path

from wan_model.config import ModelConfig
from wan_model.nano.tokenizer import build_tokenizer
from wan_model.nano.train_dit import NanoDenoiser
from wan_model.vae import WanVAE
from wan_model.weights.export import export_diffusers


def export_nano(folder: Path, config: ModelConfig, *, model: NanoDenoiser, vae: WanVAE) -> None:
    """fp16 weights, tokenizer, scheduler and sampling defaults. `config.vae` must be the trained VAE's own."""
    tokenizer = build_tokenizer(text_len=config.text.text_len)
    export_diffusers(folder, config, text=model.text, tokenizer=tokenizer, dit=model.dit, vae=vae)
