"""A checkpoint as one value: whose names, which dimensions, where every tensor lies. No weights are loaded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from wan_model.config import DiTConfig, ModelConfig, SamplingDefaults, TextConfig, VAEConfig
from wan_model.errors import CorruptFileError, KeyMismatchError, LayoutError
from wan_model.sampling.schedule import Solver
from wan_model.vae import keys as vae_keys
from wan_model.variants import UMT5_XXL, VAE_2_1, VAE_2_2, VARIANTS
from wan_model.weights import dimensions, keys
from wan_model.weights.layouts import DEFAULTS_FILE, CheckpointFiles, ComponentFiles, Json, Layout, find_files
from wan_model.weights.tensor_files import Entry, list_tensors

_REPOSITORY_SOLVERS: dict[str, Solver] = {
    "UniPCMultistepScheduler": "unipc",
    "FlowMatchEulerDiscreteScheduler": "euler",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ComponentWeights:
    """One network's tensors by the name that our module gives them, and the files they lie in."""

    tensors: Mapping[str, Entry]
    files: tuple[Path, ...]

    @property
    def num_parameters(self) -> int:
        return sum(entry.num_elements for entry in self.tensors.values())

    @property
    def dtype(self) -> str:
        """The dtype that most parameters are stored in."""
        sizes: Counter[str] = Counter()
        for entry in self.tensors.values():
            sizes[entry.dtype] += entry.num_elements
        return sizes.most_common(1)[0][0]


@dataclass(frozen=True, slots=True, kw_only=True)
class RepositorySampling:
    """What a diffusers folder's own scheduler does: the profile `diffusers` follows it."""

    shift: float
    solver: Solver


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A whole checkpoint. `variant` names the official model of these dimensions, if any.

    `components` has some of dit, low_dit, vae, text. Where a part is absent, `config` holds what its family has there.
    """

    path: Path
    layout: Layout
    variant: str | None
    config: ModelConfig
    components: Mapping[str, ComponentWeights]
    tokenizer: Path | None
    repository: RepositorySampling | None


def open_checkpoint(path: Path) -> Checkpoint:
    """Reads what a checkpoint says of itself.

    Raises:
        LayoutError: the path holds no layout we know, or no DiT.
        CorruptFileError: a file is truncated or cannot be read.
        KeyMismatchError: tensors that tell the dimensions are missing.
    """
    files = find_files(path)
    if "dit" not in files.components:
        raise LayoutError(f"{path}: no transformer among {', '.join(files.components)}")
    opened = {name: _open(name, part) for name, part in files.components.items()}
    dit: DiTConfig = opened["dit"][0]
    vae: VAEConfig = opened["vae"][0] if "vae" in opened else _family_vae(dit)
    text: TextConfig = opened["text"][0] if "text" in opened else UMT5_XXL
    variant = _variant(path, dit, vae, has_low_noise_expert="low_dit" in opened)
    return Checkpoint(
        path=path,
        layout=files.layout,
        variant=None if variant is None else variant.name,
        config=_model_config(files, variant, dit=dit, vae=vae, text=text),
        components={name: weights for name, (_, weights) in opened.items()},
        tokenizer=files.tokenizer,
        repository=_repository(files.scheduler),
    )


def _open(name: str, part: ComponentFiles) -> tuple[Any, ComponentWeights]:
    """A component's configuration and its tensors under our names."""
    tensors = list_tensors(part.files)
    try:
        config, rename = _OPENERS[name](tensors, part.config)
    except KeyError as missing:
        where = ", ".join(str(file) for file in part.files)
        raise KeyMismatchError(where, missing=[str(missing.args[0])]) from missing
    return config, ComponentWeights(tensors={rename(key): entry for key, entry in tensors.items()}, files=part.files)


_Opened = tuple[Any, Callable[[str], str]]


def _open_dit(tensors: Mapping[str, Entry], config: Json | None) -> _Opened:
    prefix = keys.common_prefix(tensors)
    is_diffusers = keys.is_diffusers_dit(tensors)

    def rename(key: str) -> str:
        bare = key.removeprefix(prefix)
        return keys.dit_to_official(bare) if is_diffusers else bare

    if is_diffusers and config:
        return dimensions.dit_from_diffusers(config), rename
    shapes = {rename(key): entry.shape for key, entry in tensors.items()}
    return dimensions.dit_from_official(shapes, config or {}), rename


def _open_vae(tensors: Mapping[str, Entry], config: Json | None) -> _Opened:
    if not config:
        return dimensions.vae_from_official({key: entry.shape for key, entry in tensors.items()}), str
    vae = dimensions.vae_from_diffusers(config)

    def rename(key: str) -> str:
        try:
            return vae_keys.to_official(key, vae)
        except KeyError:
            return key  # named as unexpected where the tensors are assigned

    return vae, rename


def _open_text(tensors: Mapping[str, Entry], config: Json | None) -> _Opened:
    def rename(key: str) -> str:
        return keys.text_to_transformers(key) if "token_embedding.weight" in tensors else key

    if config:
        return dimensions.text_from_config(config), rename
    return dimensions.text_from_shapes({rename(key): entry.shape for key, entry in tensors.items()}), rename


_OPENERS: dict[str, Callable[[Mapping[str, Entry], Json | None], _Opened]] = {
    "dit": _open_dit,
    "low_dit": _open_dit,
    "vae": _open_vae,
    "text": _open_text,
}


def _family_vae(dit: DiTConfig) -> VAEConfig:
    return VAE_2_2 if dit.out_channels == VAE_2_2.z_dim else VAE_2_1


def _variant(path: Path, dit: DiTConfig, vae: VAEConfig, *, has_low_noise_expert: bool) -> ModelConfig | None:
    """The official model of these dimensions; of several, the one whose experts and whose name in the path fit best."""
    same = [model for model in VARIANTS.values() if model.dit == dit and model.vae.z_dim == vae.z_dim]

    def misfit(model: ModelConfig) -> tuple[bool, bool]:
        return model.has_low_noise_expert != has_low_noise_expert, model.name.rpartition("-")[2] not in str(
            path
        ).lower()

    return min(same, key=misfit, default=None)


def _model_config(
    files: CheckpointFiles, variant: ModelConfig | None, *, dit: DiTConfig, vae: VAEConfig, text: TextConfig
) -> ModelConfig:
    has_low_noise_expert = "low_dit" in files.components
    expand_timesteps = bool(files.model_index.get("expand_timesteps", vae.is_residual))
    family = variant or VARIANTS["wan2.2-ti2v-5b" if expand_timesteps else "wan2.1-t2v-1.3b"]
    defaults = _defaults(files, family.defaults)
    if has_low_noise_expert and defaults.boundary is None:
        is_image_to_video = dit.in_channels != dit.out_channels
        defaults = replace(defaults, boundary=0.900 if is_image_to_video else 0.875)
    return ModelConfig(
        name=files.defaults.get("name") or (variant.name if variant else files.path.resolve().stem),
        text=text,
        dit=dit,
        vae=vae,
        defaults=defaults,
        has_low_noise_expert=has_low_noise_expert,
        expand_timesteps=expand_timesteps,
    )


def _defaults(files: CheckpointFiles, family: SamplingDefaults) -> SamplingDefaults:
    """The folder's own defaults over its family's; the boundary between two experts is the repository's."""
    own = {name: value for name, value in files.defaults.items() if name != "name"}
    try:
        defaults = replace(family, **own)
    except TypeError as error:
        raise CorruptFileError(files.path / DEFAULTS_FILE, f"not a set of sampling defaults: {error}") from error
    boundary = files.model_index.get("boundary_ratio")
    return defaults if boundary is None else replace(defaults, boundary=boundary)


def _repository(scheduler: Json) -> RepositorySampling | None:
    solver = _REPOSITORY_SOLVERS.get(scheduler.get("_class_name", ""))
    shift = scheduler.get("flow_shift" if solver == "unipc" else "shift")
    return None if solver is None or shift is None else RepositorySampling(shift=float(shift), solver=solver)
