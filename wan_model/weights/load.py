"""Builds a network on the meta device and gives it its weights one by one, so that memory peaks at its size."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

import torch
from torch import Tensor, nn

from wan_model.config import DiTConfig, TextConfig, VAEConfig
from wan_model.dit.model import FP32_PARAMETERS, WanDiT
from wan_model.errors import KeyMismatchError
from wan_model.vae import WanVAE
from wan_model.weights.checkpoint import ComponentWeights
from wan_model.weights.share import converted_once
from wan_model.weights.tensor_files import Entry, read_tensors

if TYPE_CHECKING:
    from transformers import UMT5EncoderModel

Dtype = Literal["float32", "bfloat16", "auto"]
_Module = TypeVar("_Module", bound=nn.Module)

_DTYPE_NAMES = {torch.float32: "float32", torch.bfloat16: "bfloat16"}
_TIED_TEXT_EMBEDDING = "encoder.embed_tokens.weight"
_UNUSED = ("norm_added_q",)  # some converted image-to-video repositories carry a norm that no code applies


def load_dit(
    config: DiTConfig,
    weights: ComponentWeights,
    *,
    dtype: Dtype,
    device: str = "cpu",
    shared_folder: Path | None = None,
) -> WanDiT:
    """The DiT; timestep embedding, modulation and norms stay in fp32."""
    main = resolve_dtype(dtype, weights)

    def dtype_of(name: str) -> torch.dtype:
        return torch.float32 if any(part in name for part in FP32_PARAMETERS) else main

    module = _on_meta(lambda: WanDiT(config))
    return _filled(module, weights, dtype_of=dtype_of, device=device, shared_folder=shared_folder)


def load_vae(
    config: VAEConfig,
    weights: ComponentWeights,
    *,
    dtype: Dtype,
    device: str = "cpu",
    shared_folder: Path | None = None,
) -> WanVAE:
    """The VAE, in one dtype throughout."""
    main = resolve_dtype(dtype, weights)
    module = _on_meta(lambda: WanVAE(config))
    return _filled(module, weights, dtype_of=lambda _: main, device=device, shared_folder=shared_folder)


def load_text(
    config: TextConfig,
    weights: ComponentWeights,
    *,
    dtype: Dtype,
    device: str = "cpu",
    shared_folder: Path | None = None,
) -> UMT5EncoderModel:
    """The umT5 encoder, in one dtype throughout; its two names for the token embedding are one tensor."""
    main = resolve_dtype(dtype, weights)
    module = _on_meta(lambda: build_text_encoder(config))
    del module.encoder.embed_tokens
    tensors = {name: entry for name, entry in weights.tensors.items() if name != _TIED_TEXT_EMBEDDING}
    if "shared.weight" not in tensors and _TIED_TEXT_EMBEDDING in weights.tensors:
        tensors["shared.weight"] = weights.tensors[_TIED_TEXT_EMBEDDING]
    only_once = ComponentWeights(tensors=tensors, files=weights.files)
    module = _filled(module, only_once, dtype_of=lambda _: main, device=device, shared_folder=shared_folder)
    module.encoder.embed_tokens = module.shared
    return module


def build_text_encoder(config: TextConfig) -> UMT5EncoderModel:
    """The architecture with weights as transformers draws them. Also what a new text encoder is trained from."""
    from transformers import UMT5Config, UMT5EncoderModel

    dims = {name: getattr(config, name) for name in config.__dataclass_fields__ if name != "text_len"}
    return UMT5EncoderModel(UMT5Config(**dims, dropout_rate=0.0, use_cache=False))


def resolve_dtype(dtype: Dtype, weights: ComponentWeights) -> torch.dtype:
    """`auto` keeps what is stored if it is bf16, and widens everything else to fp32."""
    if dtype == "auto":
        return torch.bfloat16 if weights.dtype == "bfloat16" else torch.float32
    return {name: known for known, name in _DTYPE_NAMES.items()}[dtype]


def _on_meta(build: Callable[[], _Module]) -> _Module:
    with torch.device("meta"):
        return build()


def _filled(
    module: _Module,
    weights: ComponentWeights,
    *,
    dtype_of: Callable[[str], torch.dtype],
    device: str,
    shared_folder: Path | None,
) -> _Module:
    expected = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    _check(expected, weights)
    dtypes = {name: dtype_of(name) for name in expected}
    entries = {name: weights.tensors[name] for name in expected}
    if shared_folder is not None and device == "cpu" and (copied := _to_copy(entries, dtypes)):
        entries |= converted_once(copied, dtypes, shared_folder)
    copied = _to_copy(entries, dtypes)
    names = {id(entry): name for name, entry in entries.items()}
    for entry, tensor in read_tensors(entries.values()):
        name = names[id(entry)]
        _assign(module, name, tensor.to(device=device, dtype=dtypes[name], copy=name in copied))
        del tensor
    return module.eval()


def _to_copy(entries: Mapping[str, Entry], dtypes: Mapping[str, torch.dtype]) -> dict[str, Entry]:
    """The tensors that cannot stay mapped from their files.

    A `.pth` is mapped as one piece: a single tensor left mapped would hold the pages of all that were converted.
    """
    converted = {name for name, entry in entries.items() if _DTYPE_NAMES[dtypes[name]] != entry.dtype}
    return {name: entry for name, entry in entries.items() if name in converted or (converted and entry.offset is None)}


def _check(expected: Mapping[str, tuple[int, ...]], weights: ComponentWeights) -> None:
    """One `KeyMismatchError` names everything that does not fit, unexpected tensors as the file does."""
    found = weights.tensors
    missing = sorted(expected.keys() - found.keys())
    unexpected = sorted(entry.name for name, entry in found.items() if name not in expected and not _is_unused(entry))
    shapes = {
        name: (shape, found[name].shape)
        for name, shape in expected.items()
        if name in found and found[name].shape != shape
    }
    if missing or unexpected or shapes:
        where = ", ".join(str(path) for path in weights.files)
        raise KeyMismatchError(where, missing=missing, unexpected=unexpected, shapes=shapes)


def _is_unused(entry: Entry) -> bool:
    return any(part in entry.name for part in _UNUSED)


def _assign(module: nn.Module, name: str, tensor: Tensor) -> None:
    owner, _, parameter = name.rpartition(".")
    setattr(module.get_submodule(owner), parameter, nn.Parameter(tensor, requires_grad=False))
