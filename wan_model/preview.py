"""What a clip will look like, while it is still being denoised: the clean latents it is heading for, as colours.

A latent pixel's colour is nearly an affine function of its channels. Which one is found out by encoding known colours,
so that it fits any VAE, and needs no decoder: a preview costs milliseconds.

Legend: B batch, C channels, F frames, H height, W width (of latents); N samples.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from wan_model.params import SamplingParams
from wan_model.sampling.denoise import initial_noise
from wan_model.sampling.solvers import SolverState
from wan_model.vae import WanVAE
from wan_model.vae.pixels import Frames, to_levels

_SHADES = (-0.8, 0.0, 0.8)
_PLAIN_SIDE = 4  # latent pixels of a plain picture
_TEXTURED_SIDE = 8
_NUM_TEXTURED = 16
_BATCH = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class LatentColours:
    """The affine map from a latent pixel to its colour in [-1, 1]: `weight` (3, C), `bias` (3,)."""

    weight: Tensor
    bias: Tensor

    def paint(self, latents: Tensor) -> Frames:
        """Normalised latents (1, C, F, H, W) as (F, H, W, 3) in 0 to 255, a frame and a pixel for each of theirs."""
        colours = F.conv3d(latents.float(), self.weight[..., None, None, None], self.bias)
        return to_levels(colours).cpu().numpy()


@torch.no_grad()
def fit_colours(vae: WanVAE) -> LatentColours:
    """The map of a VAE, by least squares over 27 plain pictures and a few textured ones; equal for equal weights."""
    samples = [_samples(vae, pictures) for pictures in (*_plain(vae).split(_BATCH), _textured(vae))]
    latents_NC, colours_N3 = (torch.cat(parts).double() for parts in zip(*samples, strict=True))
    ones = torch.ones(len(latents_NC), 1, dtype=torch.float64)
    solution = torch.linalg.lstsq(torch.cat((latents_NC, ones), dim=1), colours_N3).solution.float()
    device = vae.conv1.weight.device
    return LatentColours(weight=solution[:-1].T.contiguous().to(device), bias=solution[-1].to(device))


def clean_latents(
    state: SolverState, params: SamplingParams, *, before: SolverState | None, is_first_clean: bool = False
) -> Tensor:
    """The latents without noise that a clip is heading for (1, C, F, H, W); after the last step its own.

    UniPC has predicted them in its newest step. Euler's step tells the velocity v, and they are x - sigma * v.

    Args:
        state: after at least one step.
        before: the state that its newest step began from; None where that was the seed's noise.
        is_first_clean: whether the clip's first frame was given (TI2V), which no prediction betters.
    """
    if state.x0:
        clean = state.x0[-1]
    else:
        start, end = params.schedule().sigmas[state.step - 1 : state.step + 1]
        earlier = initial_noise(state.latents.shape, seed=params.seed) if before is None else before.latents
        velocity = (state.latents - earlier.to(state.latents.device)) / (end - start)
        clean = state.latents - end * velocity
    return torch.cat([state.latents[:, :, :1], clean[:, :, 1:]], dim=2) if is_first_clean else clean


def _samples(vae: WanVAE, pictures_B3HW: Tensor) -> tuple[Tensor, Tensor]:
    """Latent pixels (N, C) and the mean colours of what they stand for (N, 3), on the CPU."""
    latents = vae.encode(pictures_B3HW[:, :, None].to(vae.conv1.weight.device))[:, :, 0].cpu()
    colours = F.avg_pool2d(pictures_B3HW, vae.config.spatial_stride)
    return latents.movedim(1, -1).flatten(0, 2), colours.movedim(1, -1).flatten(0, 2)


def _plain(vae: WanVAE) -> Tensor:
    """Every colour of three shades, (27, 3, H, W)."""
    side = _PLAIN_SIDE * vae.config.spatial_stride
    shades = torch.tensor(_SHADES)
    return torch.cartesian_prod(shades, shades, shades)[:, :, None, None].expand(-1, -1, side, side)


def _textured(vae: WanVAE) -> Tensor:
    """Soft blots, since latents next to an edge are not those of plain pictures."""
    cells = torch.rand(_NUM_TEXTURED, 3, _TEXTURED_SIDE, _TEXTURED_SIDE, generator=torch.Generator().manual_seed(0))
    return F.interpolate(cells * 2 - 1, scale_factor=vae.config.spatial_stride, mode="bilinear")
