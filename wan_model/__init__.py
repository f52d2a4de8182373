"""Wan video diffusion models, text and image to video.

    clip = wan_model.load("nano")("a red circle moving right on a blue background", seed=7)

Importing this package does nothing and costs nothing; torch comes in with the first use.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wan_model.errors import WanModelError
    from wan_model.params import ExpertChoice, SamplingParams
    from wan_model.pipeline import Clip, Component, WanPipeline
    from wan_model.weights.checkpoint import Checkpoint
    from wan_model.weights.load import Dtype

__all__ = ["Checkpoint", "Clip", "SamplingParams", "WanModelError", "WanPipeline", "inspect", "load"]

_HOMES = {
    "Checkpoint": "wan_model.weights.checkpoint",
    "Clip": "wan_model.pipeline",
    "SamplingParams": "wan_model.params",
    "WanModelError": "wan_model.errors",
    "WanPipeline": "wan_model.pipeline",
}


def load(
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
    """Loads a model for use, a tensor at a time: memory peaks near the model's own size.

    Args:
        path: a diffusers folder, an official Wan folder, a single file of a DiT, or "nano", the embedded model.
        dtype: of DiT and text encoder; "auto" keeps stored bf16 and widens the rest to fp32. Timestep embedding,
            modulation and norms are always fp32. A tensor that has the asked dtype stays mapped from its file.
        device: where all components go.
        components: what to load; "dit" is both experts of a model with two.
        vae_dtype: of the VAE; fp32 unless asked otherwise.
        threads: CPU threads of the whole process.
        experts: of a model with two DiTs, leaves out the other.
        shared_folder: where weights that must be converted for the CPU are written once, for all processes of the host
            to map; None converts them in memory. As large as the model in the asked dtype; whoever names it removes it.

    Raises:
        LayoutError: no checkpoint there, or not the components that were asked for.
        KeyMismatchError: tensors missing, unexpected or of another shape.
        CorruptFileError: a file is truncated or unreadable.
    """
    from wan_model.opening import load_pipeline

    return load_pipeline(
        path,
        dtype=dtype,
        device=device,
        components=components,
        vae_dtype=vae_dtype,
        threads=threads,
        experts=experts,
        shared_folder=shared_folder,
    )


def inspect(path: str | Path) -> Checkpoint:
    """What a checkpoint is: layout, official variant, dimensions, and each component's parameters, dtype and files.

    Reads headers only. Raises what `load` raises for a path that it could not read.
    """
    from wan_model.opening import EMBEDDED
    from wan_model.weights.checkpoint import open_checkpoint

    return open_checkpoint(EMBEDDED.get(str(path), Path(path)))


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
