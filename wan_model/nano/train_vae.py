"""Trains the nano VAE on the made-up world: single frames first, then short clips, at last whole clips.

Legend: B batch, C channels, F frames, H height, W width.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wan_model.config import VAEConfig
from wan_model.nano.training import Budget, Moment, fit
from wan_model.nano.world import combinations, palette, render, sample_scenes
from wan_model.vae import WanVAE

PEAK_LEARNING_RATE = 1e-3
KL_WEIGHT = 1e-4
EDGE_WEIGHT = 0.5
FREE_COLOUR_RATE = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """Until `until` of the budget is spent, train on batches of this shape."""

    until: float
    num_frames: int
    batch_size: int


STAGES = (
    Stage(until=0.10, num_frames=1, batch_size=32),
    Stage(until=0.35, num_frames=5, batch_size=16),
    Stage(until=1.00, num_frames=17, batch_size=8),
)


def train_vae(
    config: VAEConfig,
    *,
    budget: Budget,
    checkpoint: Path,
    seed: int = 0,
    is_resumed: bool = False,
    stages: tuple[Stage, ...] = STAGES,
) -> tuple[WanVAE, list[float]]:
    """A VAE with averaged weights and measured latent statistics in its config, and the losses on the way."""
    torch.manual_seed(seed)
    vae = WanVAE(config)

    def loss_of(moment: Moment) -> Tensor:
        stage = next(stage for stage in stages if moment.fraction < stage.until)
        return _loss(vae, vae_batch(moment.numpy_rng, stage.batch_size, num_frames=stage.num_frames), moment.torch_rng)

    losses = fit(vae, loss_of, budget=budget, peak_learning_rate=PEAK_LEARNING_RATE, checkpoint=checkpoint, seed=seed,
                 is_resumed=is_resumed)  # fmt: skip
    return with_latent_statistics(vae), losses


def vae_batch(rng: np.random.Generator, batch_size: int, *, num_frames: int) -> Tensor:
    """Clips (B, 3, F, H, W) in [-1, 1]. A quarter wears colours that no caption names, so that any image goes in."""
    scenes = sample_scenes(rng, batch_size, among=combinations())
    colours = palette(scenes)
    is_free = rng.random(batch_size) < FREE_COLOUR_RATE
    colours[is_free] = rng.uniform(0, 255, (int(is_free.sum()), 2, 3))
    return as_tensor(render(scenes, num_frames=num_frames, colours=colours))


def as_tensor(clips: NDArray[np.uint8]) -> Tensor:
    """8-bit clips (N, F, H, W, 3) to (N, 3, F, H, W) in [-1, 1]."""
    return torch.from_numpy(clips).permute(0, 4, 1, 2, 3).float() / 127.5 - 1


def _loss(vae: WanVAE, frames: Tensor, generator: torch.Generator) -> Tensor:
    """Absolute, squared and edge error on the unclamped output (a clamp would stop the gradient), and a small KL."""
    mean, logvar = (part.float() for part in vae.moments(frames.bfloat16()))
    logvar = logvar.clamp(-14, 4)
    z = mean + torch.exp(0.5 * logvar) * torch.randn(mean.shape, generator=generator)
    error = vae.reconstruct(z.bfloat16()).float() - frames
    kl = 0.5 * (mean.square() + logvar.exp() - 1 - logvar).mean()
    edges = error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()
    return error.abs().mean() + error.square().mean() + EDGE_WEIGHT * edges + KL_WEIGHT * kl


def with_latent_statistics(vae: WanVAE, *, num_clips: int = 256, seed: int = 1) -> WanVAE:
    """The same VAE with mean and standard deviation of each latent channel over clips of the world in its config."""
    zero, one = (0.0,) * vae.config.z_dim, (1.0,) * vae.config.z_dim
    vae.config = replace(vae.config, latents_mean=zero, latents_std=one)
    latents = torch.cat(list(_encoded(vae, num_clips, seed)))
    by_channel = latents.transpose(0, 1).flatten(1)
    vae.config = replace(
        vae.config, latents_mean=tuple(by_channel.mean(1).tolist()), latents_std=tuple(by_channel.std(1).tolist())
    )
    return vae


def _encoded(vae: WanVAE, num_clips: int, seed: int) -> Iterator[Tensor]:
    rng = np.random.default_rng(seed)
    for _ in range(0, num_clips, 16):
        yield vae.encode(as_tensor(render(sample_scenes(rng, 16, among=combinations()))))
