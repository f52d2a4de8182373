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
from wan_model.vae.layers import CausalConv3d

PEAK_LEARNING_RATE = 1e-3
KL_WEIGHT = 2e-5
INITIAL_LOGVAR = -5.0  # noise of deviation 1 would hide the latents while they carry nothing yet
SQUARED_WEIGHT = 2.0
EDGE_WEIGHT = 0.25
SHAPE_WEIGHT = 4.0  # the shape is a tenth of the picture: without it, absolute error is content with the background
FREE_COLOUR_RATE = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """Until `until` of the budget is spent, train on batches of this shape."""

    until: float
    num_frames: int
    batch_size: int


# Small batches: at this size many steps teach more than large ones do (measured, in minutes of the same CPU).
STAGES = (
    Stage(until=0.20, num_frames=1, batch_size=8),
    Stage(until=0.60, num_frames=5, batch_size=4),
    Stage(until=1.00, num_frames=17, batch_size=2),
)


def train_vae(
    config: VAEConfig,
    *,
    budget: Budget,
    checkpoint: Path,
    seed: int = 0,
    is_resumed: bool = False,
    stages: tuple[Stage, ...] = STAGES,
    num_statistics_clips: int = 256,
) -> tuple[WanVAE, list[float]]:
    """A VAE with averaged weights and measured latent statistics in its config, and the losses on the way."""
    torch.manual_seed(seed)
    vae = WanVAE(config)
    start_as_image_model(vae)

    def loss_of(moment: Moment) -> Tensor:
        stage = next(stage for stage in stages if moment.fraction < stage.until)
        return _loss(vae, vae_batch(moment.numpy_rng, stage.batch_size, num_frames=stage.num_frames), moment.torch_rng)

    losses = fit(vae, loss_of, budget=budget, peak_learning_rate=PEAK_LEARNING_RATE, checkpoint=checkpoint, seed=seed,
                 is_resumed=is_resumed)  # fmt: skip
    return with_latent_statistics(vae, num_clips=num_statistics_clips), losses


@torch.no_grad()
def start_as_image_model(vae: WanVAE) -> None:
    """Lets each convolution begin with the current frame alone, and changes of frame rate with picking and repeating.

    What single frames teach then holds for clips from the first step on (Yu et al., MAGVIT-v2, 2023: inflation).
    """
    vae.get_parameter("conv1.bias")[vae.config.z_dim :] = INITIAL_LOGVAR
    for module in vae.modules():
        if isinstance(module, CausalConv3d):
            module.weight[:, :, :-1] = 0
            out_channels, in_channels, _, height, _ = module.weight.shape
            if height == 1:  # a change of frame rate
                identity = torch.eye(in_channels).repeat(out_channels // in_channels, 1)
                module.weight[:, :, -1, 0, 0] = identity
                module.bias.zero_()


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
    weight = 1 + SHAPE_WEIGHT * _is_shape(frames)
    pixels = (weight * (error.abs() + SQUARED_WEIGHT * error.square())).mean()
    return pixels + EDGE_WEIGHT * edges + KL_WEIGHT * kl


def _is_shape(frames: Tensor) -> Tensor:
    """1 where a pixel is not the background's colour, which the corner always has; (B, 1, F, H, W)."""
    return ((frames - frames[..., :1, :1]).abs().amax(dim=1, keepdim=True) > 0.02).float()


def with_latent_statistics(vae: WanVAE, *, num_clips: int, seed: int = 1) -> WanVAE:
    """The same VAE with mean and standard deviation of each latent channel over clips of the world in its config."""
    zero, one = (0.0,) * vae.config.z_dim, (1.0,) * vae.config.z_dim
    vae.config = replace(vae.config, latents_mean=zero, latents_std=one)
    latents = torch.cat(list(_encoded(vae, num_clips, seed)))
    by_channel = latents.transpose(0, 1).flatten(1)
    mean, std = (tuple(round(value, 4) for value in part.tolist()) for part in (by_channel.mean(1), by_channel.std(1)))
    vae.config = replace(vae.config, latents_mean=mean, latents_std=std)
    return vae


def _encoded(vae: WanVAE, num_clips: int, seed: int) -> Iterator[Tensor]:
    rng = np.random.default_rng(seed)
    for _ in range(0, num_clips, 16):
        yield vae.encode(as_tensor(render(sample_scenes(rng, 16, among=combinations()))))
