"""The causal 3-D VAE of Wan, both generations: pixels to latents and back, in chunks of frames."""

from __future__ import annotations

from wan_model.vae.model import WanVAE

__all__ = ["WanVAE"]
