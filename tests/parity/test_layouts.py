"""One model in every layout is one model: official folders, `.pth`, shards and ComfyUI's single files."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import wan_model
from wan_model.pipeline import WanPipeline
from wan_model.weights.checkpoint import open_checkpoint

REQUEST: dict[str, Any] = {"num_frames": 5, "num_inference_steps": 2, "seed": 4, "shift": 5.0}
T5_NAMES = {
    "layer.0.layer_norm": "norm1",
    "layer.0.SelfAttention.relative_attention_bias": "pos_embedding.embedding",
    "layer.0.SelfAttention": "attn",
    "layer.1.layer_norm": "norm2",
    "layer.1.DenseReluDense.wi_0": "ffn.gate.0",
    "layer.1.DenseReluDense.wi_1": "ffn.fc1",
    "layer.1.DenseReluDense.wo": "ffn.fc2",
}


def official_t5(folder: Path) -> dict[str, Tensor]:
    """The text encoder's tensors under the names of `models_t5_umt5-xxl-enc-bf16.pth`."""
    renamed = {}
    for name, tensor in load_file(folder / "text_encoder" / "model.safetensors").items():
        for transformers_name, official in T5_NAMES.items():
            name = name.replace(transformers_name, official)
        name = name.replace("encoder.block.", "blocks.").replace("encoder.final_layer_norm", "norm")
        renamed[name.replace("shared", "token_embedding")] = tensor
    assert all(re.match(r"blocks\.\d|norm|token", name) for name in renamed)
    return renamed


def plain(module: torch.nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def dit_config(module: Any) -> dict[str, Any]:
    """An official config.json: like the real ones, it leaves out the text's width and the patch."""
    config = module.config
    dims = {"dim": config.dim, "ffn_dim": config.ffn_dim, "num_heads": config.num_heads, "eps": config.eps}
    channels = {"in_dim": config.in_channels, "out_dim": config.out_channels, "freq_dim": config.freq_dim}
    return {"_class_name": "WanModel", **dims, **channels, "num_layers": config.num_layers, "text_len": 512}


def write_official(folder: Path, source: Path, *, vae_name: str) -> Path:
    """The diffusers folder `source` as an official one."""
    pipeline = wan_model.load(source, dtype="float32")
    experts = {"": pipeline.dit}
    if pipeline.low_dit is not None:
        experts = {"high_noise_model": pipeline.dit, "low_noise_model": pipeline.low_dit}
    for name, dit in experts.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        save_file(plain(dit), folder / name / "diffusion_pytorch_model.safetensors")
        (folder / name / "config.json").write_text(json.dumps(dit_config(dit)))
    torch.save(plain(pipeline.vae), folder / vae_name)
    torch.save(official_t5(source), folder / "models_t5_umt5-xxl-enc-bf16.pth")
    shutil.copytree(source / "tokenizer", folder / "google" / "umt5-xxl")
    return folder


def render(pipeline: WanPipeline) -> np.ndarray:
    size = 2 * pipeline.config.size_multiple
    return pipeline("a red circle", negative_prompt="rain", width=size, height=size, **REQUEST).frames


@pytest.mark.parametrize(
    ("fixture", "vae_name"),
    [
        ("t2v_folder", "Wan2.1_VAE.pth"),
        ("ti2v_folder", "Wan2.2_VAE.pth"),
        ("two_expert_folder", "Wan2.1_VAE.pth"),
    ],
)
def test_an_official_folder(fixture: str, vae_name: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    source = request.getfixturevalue(fixture)
    official = wan_model.load(write_official(tmp_path / "model", source, vae_name=vae_name))
    converted = wan_model.load(source)
    assert wan_model.inspect(tmp_path / "model").layout == "official"
    for part in ("text", "dit", "vae"):
        assert getattr(official.config, part) == getattr(converted.config, part)
    assert official.config.expand_timesteps == converted.config.expand_timesteps
    assert official.config.defaults.boundary == converted.config.defaults.boundary
    assert np.array_equal(render(official), render(converted))


@pytest.mark.parametrize("prefix", ["", "model.diffusion_model.", "diffusion_model."])
@pytest.mark.parametrize("suffix", ["safetensors", "pth"])
def test_a_single_file_of_a_dit(t2v_folder: Path, tmp_path: Path, prefix: str, suffix: str) -> None:
    source = wan_model.load(t2v_folder, components=("dit",)).dit
    tensors = {prefix + name: tensor for name, tensor in plain(source).items()}
    path = tmp_path / f"model.{suffix}"
    (save_file if suffix == "safetensors" else torch.save)(tensors, path)
    shapes = open_checkpoint(path).config.dit
    assert (shapes.dim, shapes.ffn_dim, shapes.num_layers, shapes.text_dim) == (64, 96, 3, 32)
    loaded = wan_model.load(path, components=("dit",)).dit
    assert all(torch.equal(loaded.state_dict()[name], tensor) for name, tensor in source.state_dict().items())


def test_a_single_file_with_diffusers_names(t2v_folder: Path) -> None:
    source = wan_model.load(t2v_folder, components=("dit",)).dit
    path = t2v_folder / "transformer" / "diffusion_pytorch_model.safetensors"
    loaded = wan_model.load(path, components=("dit",)).dit
    assert all(torch.equal(loaded.state_dict()[name], tensor) for name, tensor in source.state_dict().items())


def test_shards_with_an_index(t2v_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(t2v_folder, tmp_path / "model")
    whole = folder / "transformer" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(whole)
    whole.unlink()
    weight_map = {name: f"part-{index % 3}.safetensors" for index, name in enumerate(sorted(tensors))}
    for shard in set(weight_map.values()):
        held = {name: tensors[name] for name, where in weight_map.items() if where == shard}
        save_file(held, folder / "transformer" / shard)
    index = folder / "transformer" / "diffusion_pytorch_model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": weight_map}))
    assert np.array_equal(render(wan_model.load(folder)), render(wan_model.load(t2v_folder)))


def test_bf16_keeps_what_must_be_fp32(t2v_folder: Path) -> None:
    pipeline = wan_model.load(t2v_folder, dtype="bfloat16")
    dtypes = {name: tensor.dtype for name, tensor in pipeline.dit.state_dict().items()}
    kept = {name for name, dtype in dtypes.items() if dtype == torch.float32}
    assert {name for name in dtypes if "modulation" in name or "norm" in name or name.startswith("time_")} == kept
    assert {tensor.dtype for tensor in pipeline.vae.state_dict().values()} == {torch.float32}
    assert {tensor.dtype for tensor in pipeline.text.model.state_dict().values()} == {torch.bfloat16}
    distance = np.abs(render(pipeline).astype(int) - render(wan_model.load(t2v_folder)))
    assert 0 < distance.mean() < 12


def test_auto_keeps_bf16_and_widens_the_rest(t2v_folder: Path, tmp_path: Path) -> None:
    for stored, loaded in ((torch.bfloat16, torch.bfloat16), (torch.float16, torch.float32)):
        source = wan_model.load(t2v_folder, components=("dit",)).dit
        path = tmp_path / f"{stored}.safetensors"
        save_file({name: tensor.to(stored) for name, tensor in plain(source).items()}, path)
        assert wan_model.load(path, components=("dit",)).dit.patch_embedding.weight.dtype == loaded
