"""Every official variant on the meta device: its names and shapes, mapped, are those of diffusers' own models."""

from __future__ import annotations

import pytest
import torch
from diffusers import AutoencoderKLWan, WanTransformer3DModel, WanVACETransformer3DModel
from diffusers.loaders.single_file_utils import convert_wan_transformer_to_diffusers
from torch import nn
from transformers import UMT5Config, UMT5EncoderModel

from wan_model.config import ModelConfig
from wan_model.dit.model import WanDiT
from wan_model.vae import WanVAE
from wan_model.vae import keys as vae_keys
from wan_model.variants import UMT5_XXL, VAE_2_1, VAE_2_2, VARIANTS
from wan_model.weights.export import dit_to_config, text_to_config, vae_to_config
from wan_model.weights.keys import dit_to_diffusers, dit_to_official, text_to_transformers
from wan_model.weights.load import build_text_encoder

OFFICIAL_TENSORS = {"wan2.1-t2v-1.3b": 825, "wan2.1-t2v-14b": 1095, "wan2.1-i2v-14b-720p": 1303}
OFFICIAL_SAMPLE = {
    "patch_embedding.weight": (1536, 16, 1, 2, 2),
    "time_projection.1.weight": (9216, 1536),
    "blocks.29.modulation": (1, 6, 1536),
    "blocks.0.norm3.weight": (1536,),
    "blocks.7.self_attn.norm_q.weight": (1536,),
    "blocks.7.cross_attn.o.bias": (1536,),
    "blocks.7.ffn.2.weight": (1536, 8960),
    "head.head.weight": (64, 1536),
    "head.modulation": (1, 2, 1536),
}

Shapes = dict[str, tuple[int, ...]]


def shapes_of(module: nn.Module) -> Shapes:
    return {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}


def diffusers_dit(config: ModelConfig) -> nn.Module:
    dims = {name: value for name, value in dit_to_config(config.dit).items() if name[0] != "_"}
    with torch.device("meta"):
        return (WanVACETransformer3DModel if config.dit.vace_layers else WanTransformer3DModel)(**dims)


@pytest.mark.parametrize("config", VARIANTS.values(), ids=VARIANTS.keys())
def test_dit_has_diffusers_names_and_shapes(config: ModelConfig) -> None:
    with torch.device("meta"):
        ours = shapes_of(WanDiT(config.dit))
    theirs = shapes_of(diffusers_dit(config))
    assert {dit_to_diffusers(name): shape for name, shape in ours.items()} == theirs
    assert {dit_to_official(name) for name in theirs} == ours.keys()


@pytest.mark.parametrize("config", VARIANTS.values(), ids=VARIANTS.keys())
def test_dit_has_the_official_names_that_diffusers_converts(config: ModelConfig) -> None:
    with torch.device("meta"):
        official = dict(WanDiT(config.dit).state_dict())
    theirs = shapes_of(diffusers_dit(config))
    if config.dit.image_tokens is not None:  # diffusers' converter forgets this name
        assert official.pop("img_emb.emb_pos").shape == theirs.pop("condition_embedder.image_embedder.pos_embed")
    converted = convert_wan_transformer_to_diffusers(official)
    assert {name: tuple(tensor.shape) for name, tensor in converted.items()} == theirs


@pytest.mark.parametrize(("name", "count"), OFFICIAL_TENSORS.items())
def test_number_of_tensors_of_the_official_files(name: str, count: int) -> None:
    with torch.device("meta"):
        assert len(WanDiT(VARIANTS[name].dit).state_dict()) == count


def test_some_official_names_and_shapes() -> None:
    with torch.device("meta"):
        ours = shapes_of(WanDiT(VARIANTS["wan2.1-t2v-1.3b"].dit))
    assert {name: ours.get(name) for name in OFFICIAL_SAMPLE} == OFFICIAL_SAMPLE


@pytest.mark.parametrize("config", [VAE_2_1, VAE_2_2], ids=["2.1", "2.2"])
def test_vae_has_diffusers_names_and_shapes(config: object) -> None:
    dims = {name: value for name, value in vae_to_config(config).items() if name[0] != "_"}
    with torch.device("meta"):
        ours, theirs = shapes_of(WanVAE(config)), shapes_of(AutoencoderKLWan(**dims))
    assert {vae_keys.to_diffusers(name, config): shape for name, shape in ours.items()} == theirs


def test_text_encoder_from_official_names() -> None:
    parts = ("norm1", "attn.q", "attn.k", "attn.v", "attn.o", "pos_embedding.embedding", "norm2")
    parts += ("ffn.gate.0", "ffn.fc1", "ffn.fc2")
    official = {f"blocks.{block}.{part}.weight" for block in range(24) for part in parts}
    official |= {"token_embedding.weight", "norm.weight"}
    assert len(official) == 242
    with torch.device("meta"):
        ours = build_text_encoder(UMT5_XXL)
        theirs = UMT5EncoderModel(UMT5Config(**text_to_config(UMT5_XXL)))
    assert shapes_of(ours) == shapes_of(theirs)
    assert {text_to_transformers(name) for name in official} == ours.state_dict().keys() - {
        "encoder.embed_tokens.weight"
    }
