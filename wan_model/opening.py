"""Loading a model: which components, from where, in which dtype, onto what."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from wan_model.dit.model import WanDiT
from wan_model.errors import LayoutError
from wan_model.params import ExpertChoice
from wan_model.pipeline import Component, WanPipeline
from wan_model.text.encoder import TextEncoder
from wan_model.vae import WanVAE
from wan_model.weights.checkpoint import Checkpoint, open_checkpoint
from wan_model.weights.load import Dtype, load_dit, load_text, load_vae

EMBEDDED = {"nano": Path(__file__).parent / "nano" / "weights"}


def load_pipeline(
    path: str | Path,
    *,
    dtype: Dtype = "auto",
    device: str = "cpu",
    components: Sequence[Component] = ("text", "dit", "vae"),
    vae_dtype: Dtype = "float32",
    threads: int | None = None,
    experts: ExpertChoice = "all",
    shared_folder: Path | None = None,
) -> WanPipeline:
    """See `wan_model.load`."""
    if threads is not None:
        torch.set_num_threads(threads)
    checkpoint = open_checkpoint(EMBEDDED.get(str(path), Path(path)))
    config, parts = checkpoint.config, checkpoint.components
    absent = [name for name in components if name not in parts]
    if absent:
        raise LayoutError(f"{path} has no {', '.join(absent)}: load it with components={tuple(parts)}")
    if experts != "all" and "low_dit" not in parts:
        raise LayoutError(f"{path} has no second expert: load it with experts='all'")

    def dit(name: str) -> WanDiT:
        return load_dit(config.dit, parts[name], dtype=dtype, device=device, shared_folder=shared_folder)

    def vae() -> WanVAE:
        return load_vae(config.vae, parts["vae"], dtype=vae_dtype, device=device, shared_folder=shared_folder)

    has_dit = "dit" in components
    return WanPipeline(
        config=config,
        text=_load_text_encoder(checkpoint, dtype, device, shared_folder) if "text" in components else None,
        dit=dit("dit") if has_dit and experts != "low" else None,
        low_dit=dit("low_dit") if has_dit and experts != "high" and "low_dit" in parts else None,
        vae=vae() if "vae" in components else None,
        repository=checkpoint.repository,
    )


def _load_text_encoder(checkpoint: Checkpoint, dtype: Dtype, device: str, shared_folder: Path | None) -> TextEncoder:
    from transformers import AutoTokenizer

    if checkpoint.tokenizer is None:
        raise LayoutError(f"{checkpoint.path} has no tokenizer: expected tokenizer/ or google/umt5-xxl/")
    config = checkpoint.config.text
    model = load_text(config, checkpoint.components["text"], dtype=dtype, device=device, shared_folder=shared_folder)
    tokenizer = AutoTokenizer.from_pretrained(checkpoint.tokenizer, local_files_only=True)
    return TextEncoder(model, tokenizer, text_len=config.text_len)
