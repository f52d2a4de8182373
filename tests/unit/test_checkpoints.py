"""What a checkpoint says of itself, and how it says that it cannot be used."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from sparse_tensors import write_sparse

import wan_model
from wan_model.config import DiTConfig, ModelConfig
from wan_model.dit.model import WanDiT
from wan_model.errors import CheckpointError, CorruptFileError, KeyMismatchError, LayoutError, WanModelError
from wan_model.vae import WanVAE
from wan_model.variants import VARIANTS

SMALL = DiTConfig(
    dim=128, ffn_dim=64, num_heads=1, num_layers=2, in_channels=16, out_channels=16, text_dim=32, freq_dim=32
)


def shapes_of(config: DiTConfig) -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):
        return {name: tuple(tensor.shape) for name, tensor in WanDiT(config).state_dict().items()}


def small_tensors() -> dict[str, torch.Tensor]:
    return {name: torch.full(shape, 0.5) for name, shape in shapes_of(SMALL).items()}


@pytest.mark.parametrize("model", VARIANTS.values(), ids=VARIANTS.keys())
def test_every_variant_is_known_by_its_shapes_alone(model: ModelConfig, tmp_path: Path) -> None:
    found = wan_model.inspect(write_sparse(tmp_path / f"{model.name}.safetensors", shapes_of(model.dit)))
    assert found.config.dit == model.dit
    assert found.config.vae == model.vae
    assert found.config.expand_timesteps == model.expand_timesteps
    # One expert's file of the two-expert text model cannot be told from the 14B of 2.1.
    assert found.variant == {"wan2.2-t2v-a14b": "wan2.1-t2v-14b"}.get(model.name, model.name)


@pytest.mark.parametrize("name", ["wan2.1-t2v-1.3b", "wan2.2-t2v-a14b", "wan2.2-i2v-a14b", "wan2.2-ti2v-5b"])
def test_every_official_folder_is_known_without_its_configs(name: str, tmp_path: Path) -> None:
    model = VARIANTS[name]
    folders = ("high_noise_model", "low_noise_model") if model.has_low_noise_expert else (".",)
    for folder in folders:
        write_sparse(tmp_path / folder / "diffusion_pytorch_model.safetensors", shapes_of(model.dit))
    with torch.device("meta"):
        vae = {name: tuple(tensor.shape) for name, tensor in WanVAE(model.vae).state_dict().items()}
    write_sparse(tmp_path / "Wan2.x_VAE.safetensors", vae, dtype="F32")
    found = wan_model.inspect(tmp_path)
    assert (found.layout, found.variant, found.config) == ("official", name, model)
    assert found.components["vae"].dtype == "float32"
    assert found.components["dit"].dtype == "bfloat16"


def test_parameters_and_files_are_told(tmp_path: Path) -> None:
    path = write_sparse(tmp_path / "dit.safetensors", shapes_of(VARIANTS["wan2.1-t2v-1.3b"].dit))
    dit = wan_model.inspect(path).components["dit"]
    assert dit.num_parameters == 1_418_996_800
    assert dit.files == (path,)


def with_header(text: str) -> bytes:
    return len(text).to_bytes(8, "little") + text.encode() + bytes(64)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no safetensors header"),
        (b"\x10\x00", "no safetensors header"),
        ((2**40).to_bytes(8, "little") + b"{}", "no safetensors header"),
        (with_header("nope"), "cannot be read"),
        (with_header('{"a": [1]}'), "cannot be read"),
        (with_header('{"a": {"dtype": "F32", "shape": [1]}}'), "cannot be read"),
        (with_header('{"a": {"dtype": "F32", "shape": ["x"], "data_offsets": [0, 4]}}'), "cannot be read"),
        (with_header('{"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}'), "cannot lie at bytes 0 to 4"),
        (with_header('{"a": {"dtype": "F32", "shape": [1], "data_offsets": [-4, 0]}}'), "cannot lie at bytes -4"),
        (with_header('{"a": {"dtype": "F32", "shape": [99], "data_offsets": [0, 396]}}'), "truncated"),
    ],
)
def test_a_file_that_is_no_safetensors(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "bad.safetensors"
    path.write_bytes(content)
    with pytest.raises(CorruptFileError, match=message) as caught:
        wan_model.load(path, components=("dit",))
    assert caught.value.path == path


@pytest.mark.parametrize("suffix", ["safetensors", "pth"])
@pytest.mark.parametrize("kept", [0.99, 0.5, 0.1])
def test_a_truncated_file_is_named(tmp_path: Path, suffix: str, kept: float) -> None:
    path = tmp_path / f"cut.{suffix}"
    (save_file if suffix == "safetensors" else torch.save)(small_tensors(), path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * kept)])
    with pytest.raises(CorruptFileError, match=f"{path}: .*truncated"):
        wan_model.load(path, components=("dit",))


def test_a_pth_with_code_is_refused(tmp_path: Path) -> None:
    torch.save({"model": Path("x")}, tmp_path / "evil.pth")
    with pytest.raises(CorruptFileError, match="not plain weights"):
        wan_model.load(tmp_path / "evil.pth", components=("dit",))


def test_all_that_does_not_fit_is_named_at_once(tmp_path: Path) -> None:
    tensors = small_tensors()
    del tensors["blocks.1.ffn.0.bias"], tensors["head.modulation"]
    tensors["blocks.0.norm3.weight"] = torch.ones(7)
    tensors["blocks.0.adapter.weight"] = torch.ones(1)
    save_file(tensors, tmp_path / "odd.safetensors")
    with pytest.raises(KeyMismatchError) as caught:
        wan_model.load(tmp_path / "odd.safetensors", components=("dit",))
    assert caught.value.missing == ("blocks.1.ffn.0.bias", "head.modulation")
    assert caught.value.unexpected == ("blocks.0.adapter.weight",)
    assert caught.value.shapes == {"blocks.0.norm3.weight": ((128,), (7,))}
    assert "odd.safetensors" in str(caught.value)


def test_a_file_of_something_else_names_what_it_lacks(tmp_path: Path) -> None:
    save_file({"weight": torch.ones(2)}, tmp_path / "other.safetensors")
    with pytest.raises(KeyMismatchError, match=r"patch_embedding\.weight"):
        wan_model.inspect(tmp_path / "other.safetensors")


def test_the_config_overrules_the_shapes(tmp_path: Path) -> None:
    save_file(small_tensors(), tmp_path / "diffusion_pytorch_model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"num_heads": 2, "num_layers": 3, "eps": 1e-5}))
    config = wan_model.inspect(tmp_path).config.dit
    assert (config.num_heads, config.num_layers, config.eps) == (2, 3, 1e-5)
    with pytest.raises(KeyMismatchError, match=r"blocks\.2\."):
        wan_model.load(tmp_path, components=("dit",))


@pytest.mark.parametrize("dtype", ["F8_E4M3", "I64"])
def test_a_dtype_that_is_not_read(tmp_path: Path, dtype: str) -> None:
    path = write_sparse(tmp_path / "fp8.safetensors", shapes_of(SMALL), dtype=dtype)
    with pytest.raises(LayoutError, match=dtype):
        wan_model.inspect(path)


def test_paths_that_are_no_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "readme.txt").write_text("hello")
    for path, message in (
        (tmp_path / "nowhere", "nothing there"),
        (tmp_path, "no file of a kind known"),
        (tmp_path / "readme.txt", "no file of a kind known"),
    ):
        with pytest.raises(LayoutError, match=message):
            wan_model.load(path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(LayoutError, match="empty"):
        wan_model.load(tmp_path / "empty")


def test_a_component_that_is_not_there(tmp_path: Path) -> None:
    save_file(small_tensors(), tmp_path / "dit.safetensors")
    with pytest.raises(LayoutError, match=r"has no text, vae.*components=\('dit',\)"):
        wan_model.load(tmp_path / "dit.safetensors")


def test_missing_shards_are_named(tmp_path: Path) -> None:
    index = tmp_path / "diffusion_pytorch_model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "one.safetensors", "b": "two.safetensors"}}))
    with pytest.raises(LayoutError, match=r"one.safetensors, two.safetensors"):
        wan_model.inspect(tmp_path)
    index.write_text("[")
    with pytest.raises(CorruptFileError, match="not JSON"):
        wan_model.inspect(tmp_path)


def test_the_errors_are_one_tree() -> None:
    for error in (LayoutError, KeyMismatchError, CorruptFileError):
        assert issubclass(error, CheckpointError)
        assert issubclass(error, WanModelError)


def test_the_door_names_what_it_opens() -> None:
    assert sorted(wan_model.__all__) == wan_model.__all__
    assert all(getattr(wan_model, name) is not None for name in wan_model.__all__)
    with pytest.raises(AttributeError):
        wan_model.nothing_of_the_kind  # noqa: B018


def test_importing_costs_nothing() -> None:
    code = "import sys, wan_model; print([m for m in ('torch', 'numpy', 'transformers') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"
