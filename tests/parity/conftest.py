"""The tiny models of `tiny_wan` as folders, each written once a session."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from tiny_wan import FLOW_SHIFT, save_folder, tiny_dit, tiny_vae_2_1, tiny_vae_2_2


@pytest.fixture(scope="session")
def t2v_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Text to video as in Wan 2.1: one DiT, VAE 2.1. Sizes are multiples of 16."""
    return save_folder(tmp_path_factory.mktemp("t2v"), transformer=tiny_dit(seed=1), vae=tiny_vae_2_1())


@pytest.fixture(scope="session")
def ti2v_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Text and image to video as in Wan 2.2's 5B: VAE 2.2, a timestep per token. Sizes are multiples of 32."""
    dit = tiny_dit(seed=2, in_channels=48, out_channels=48)
    return save_folder(tmp_path_factory.mktemp("ti2v"), transformer=dit, vae=tiny_vae_2_2(), expand_timesteps=True)


@pytest.fixture(scope="session")
def two_expert_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Text to video as in Wan 2.2's A14B: two DiTs that change over at 0.875."""
    folder, experts = tmp_path_factory.mktemp("two-expert"), {"transformer": tiny_dit(seed=3)}
    experts["transformer_2"] = tiny_dit(seed=4)
    return save_folder(folder, **experts, vae=tiny_vae_2_1(), boundary_ratio=0.875)


@pytest.fixture(scope="session")
def euler_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As `t2v_folder`, but the repository's scheduler is Euler's."""
    scheduler = FlowMatchEulerDiscreteScheduler(shift=FLOW_SHIFT)
    folder = tmp_path_factory.mktemp("euler")
    return save_folder(folder, transformer=tiny_dit(seed=1), vae=tiny_vae_2_1(), scheduler=scheduler)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)
