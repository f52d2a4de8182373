"""A nano-sized model of two experts: nano's weights twice, the second a little off, so that swapping them shows."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

NANO = Path(__file__).parents[1] / "wan_model" / "nano" / "weights"
BOUNDARY = 0.875
WEIGHTS = "diffusion_pytorch_model.safetensors"


def write_two_experts(folder: Path) -> Path:
    """A diffusers folder as A14B's: `transformer` from timestep 875 up, `transformer_2` below."""
    shutil.copytree(NANO, folder)
    shutil.copytree(folder / "transformer", folder / "transformer_2")
    tensors = load_file(folder / "transformer_2" / WEIGHTS)
    generator = torch.Generator().manual_seed(0)
    nudged = {name: value + 1e-3 * torch.randn(value.shape, generator=generator).to(value.dtype)
              for name, value in tensors.items()}  # fmt: skip
    save_file(nudged, folder / "transformer_2" / WEIGHTS)
    index = json.loads((folder / "model_index.json").read_text())
    index |= {"boundary_ratio": BOUNDARY, "transformer_2": index["transformer"]}
    (folder / "model_index.json").write_text(json.dumps(index))
    defaults = json.loads((folder / "sampling_defaults.json").read_text())
    defaults |= {"name": folder.name, "boundary": BOUNDARY}
    (folder / "sampling_defaults.json").write_text(json.dumps(defaults))
    return folder
