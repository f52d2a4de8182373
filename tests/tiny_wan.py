"""Tiny Wan models with random weights, written by diffusers itself: the folders that parity is measured on.

Every weight is drawn anew, biases and norms too, so that no two parameters could be swapped unseen. Frames are small
but have more than one latent frame, and heights differ from widths.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import torch
from diffusers import (
    AutoencoderKLWan,
    UniPCMultistepScheduler,
    WanImageToVideoPipeline,
    WanPipeline,
    WanTransformer3DModel,
)
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast, UMT5Config, UMT5EncoderModel

from wan_model.variants import VAE_2_1, VAE_2_2

CORPUS = (
    "a red circle moves to the right on a blue background",
    "two cats, a dog & one very small elephant; rain falls over the old harbour at night",
    "色调艳丽，过曝，静态，细节模糊不清，字幕",
)
TEXT_DIM = 32
FLOW_SHIFT = 5.0
M = TypeVar("M", bound=torch.nn.Module)


def save_folder(folder: Path, *, scheduler: Any = None, **parts: Any) -> Path:
    """A diffusers folder with a tiny umT5 and a small byte-level tokenizer."""
    tokenizer = small_tokenizer()
    pipeline_class = WanImageToVideoPipeline if parts.get("expand_timesteps") else WanPipeline
    extra = {"image_encoder": None, "image_processor": None} if pipeline_class is WanImageToVideoPipeline else {}
    pipeline_class(
        tokenizer=tokenizer,
        text_encoder=tiny_text_encoder(len(tokenizer)),
        scheduler=scheduler or unipc_scheduler(),
        **parts,
        **extra,
    ).save_pretrained(folder)
    return folder


def unipc_scheduler(shift: float = FLOW_SHIFT) -> UniPCMultistepScheduler:
    return UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=shift)


def small_tokenizer() -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    special = ["<pad>", "</s>", "<unk>"]
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    names = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names)


def tiny_text_encoder(vocab_size: int) -> UMT5EncoderModel:
    config = UMT5Config(vocab_size=vocab_size, d_model=TEXT_DIM, d_ff=64, num_heads=4, d_kv=8, num_layers=2)
    return redrawn(UMT5EncoderModel(config), seed=5)


def tiny_dit(*, seed: int, **changes: Any) -> WanTransformer3DModel:
    dims: dict[str, Any] = {"num_attention_heads": 4, "attention_head_dim": 16, "in_channels": 16, "out_channels": 16}
    dims |= {"text_dim": TEXT_DIM, "freq_dim": 32, "ffn_dim": 96, "num_layers": 3}
    return redrawn(WanTransformer3DModel(**(dims | changes)), seed=seed)


def tiny_vae_2_1() -> AutoencoderKLWan:
    statistics = {"latents_mean": list(VAE_2_1.latents_mean), "latents_std": list(VAE_2_1.latents_std)}
    return redrawn(AutoencoderKLWan(base_dim=8, z_dim=16, num_res_blocks=1, **statistics), seed=6)


def tiny_vae_2_2() -> AutoencoderKLWan:
    dims = {"base_dim": 8, "decoder_base_dim": 16, "z_dim": 48, "num_res_blocks": 1, "is_residual": True}
    pixels = {"patch_size": 2, "in_channels": 12, "out_channels": 12, "scale_factor_spatial": 16}
    statistics = {"latents_mean": list(VAE_2_2.latents_mean), "latents_std": list(VAE_2_2.latents_std)}
    return redrawn(AutoencoderKLWan(**dims, **pixels, **statistics), seed=7)


def redrawn(module: M, *, seed: int) -> M:
    """Draws every parameter: matrices at unit gain, norms' scales around 1, biases small."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in module.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        is_scale = (parameter.ndim == 1 and "bias" not in name) or "gamma" in name
        fan_in = parameter[0].numel() if parameter.ndim > 1 else 1
        parameter.data = 1 + 0.2 * noise if is_scale else noise * (fan_in**-0.5 if parameter.ndim > 1 else 0.1)
    return module.eval()
