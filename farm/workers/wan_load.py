"""Checkpoints onto devices."""

from __future__ import annotations

import platform
import re
from collections.abc import Sequence
from pathlib import Path

import torch

import wan_model
from farm.errors import ModelError
from farm.workers.engine import Experts, ModelPlan
from wan_model.errors import CheckpointError
from wan_model.pipeline import Component, WanPipeline


def load_model(
    plan: ModelPlan, *, components: Sequence[Component], experts: Experts = "all", shared_folder: Path | None = None
) -> WanPipeline:
    """ModelError where the weights do not load."""
    # cuDNN may otherwise pick kernels whose sums change from run to run.
    torch.backends.cudnn.deterministic = True
    try:
        return wan_model.load(
            plan.path,
            components=components,
            dtype=plan.dtype,
            device=plan.device,
            threads=plan.threads,
            experts=experts,
            shared_folder=shared_folder,
        )
    except CheckpointError as error:
        raise ModelError(f"the model in {plan.path} cannot be loaded: {error}") from error


def device_kind(device: str) -> str:
    """The kind of a device as prices and records name it: "nvidia-h100-80gb-hbm3", "cpu-avx512"."""
    if device.startswith("cuda"):
        return re.sub(r"[^a-z0-9]+", "-", torch.cuda.get_device_name(device).lower())
    # The instruction set decides which kernels run, and with them the last bits.
    capability = torch.backends.cpu.get_cpu_capability().lower()
    return f"cpu-{capability}" if platform.machine() == "x86_64" else f"cpu-{platform.machine()}-{capability}"
