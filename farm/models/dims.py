"""The dimensions of a model that decide its identity, its cost and its memory, as plain numbers.

`farm` outside its workers cannot import `wan_model`; a test asserts that these agree with `wan_model.variants`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

PATCH_SIZE = 2  # of the DiT, in latent pixels; Wan has no other


@dataclass(frozen=True, slots=True, kw_only=True)
class DiTDims:
    """The diffusion transformer. `image_dim`: CLIP's width (I2V 2.1), `image_tokens`: positions over them (FLF2V)."""

    dim: int
    ffn_dim: int
    num_heads: int
    num_layers: int
    in_channels: int
    out_channels: int
    image_dim: int | None = None
    image_tokens: int | None = None
    num_vace_layers: int = 0

    @property
    def num_parameters(self) -> int:
        """Of the blocks, which is all but a percent."""
        return self.num_layers * (8 * self.dim**2 + 2 * self.dim * self.ffn_dim)


@dataclass(frozen=True, slots=True, kw_only=True)
class VAEDims:
    """The causal 3-D VAE; `temporal_downsample` and `dim_mult` go from the frames inwards."""

    decoder_dim: int
    z_dim: int
    dim_mult: tuple[int, ...]
    num_res_blocks: int
    temporal_downsample: tuple[bool, ...]
    patch_size: int = 1

    @property
    def spatial_stride(self) -> int:
        """Pixels per latent pixel."""
        return int(self.patch_size * 2 ** (len(self.dim_mult) - 1))

    @property
    def temporal_stride(self) -> int:
        """Frames per latent frame, after the first."""
        return int(2 ** sum(self.temporal_downsample))


@dataclass(frozen=True, slots=True, kw_only=True)
class TextDims:
    """The umT5 encoder."""

    vocab_size: int
    d_model: int
    d_ff: int
    num_heads: int
    d_kv: int
    num_layers: int

    @property
    def num_parameters(self) -> int:
        """Embedding and blocks (attention's four matrices, the gated feed-forward's three)."""
        block = 4 * self.d_model * self.num_heads * self.d_kv + 3 * self.d_model * self.d_ff
        return self.vocab_size * self.d_model + self.num_layers * block


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelDims:
    """A whole model. Two experts are two DiTs of equal dimensions; `expand_timesteps`: a timestep per token (TI2V).

    `boundary`: with two experts, the share of the timesteps below which the low-noise one denoises; else None.
    """

    dit: DiTDims
    vae: VAEDims
    text: TextDims
    num_experts: int = 1
    expand_timesteps: bool = False
    boundary: float | None = None

    @property
    def size_multiple(self) -> int:
        """Pixels that width and height must be a multiple of."""
        return self.vae.spatial_stride * PATCH_SIZE

    def latent_frames(self, num_frames: int) -> int:
        """Latent frames of a clip."""
        return (num_frames - 1) // self.vae.temporal_stride + 1

    def num_tokens(self, width: int, height: int, *, num_frames: int) -> int:
        """What the DiT sees of a clip in pixels."""
        return self.latent_frames(num_frames) * math.prod(side // self.size_multiple for side in (width, height))


UMT5_XXL = TextDims(vocab_size=256384, d_model=4096, d_ff=10240, num_heads=64, d_kv=64, num_layers=24)
VAE_2_1 = VAEDims(
    decoder_dim=96, z_dim=16, dim_mult=(1, 2, 4, 4), num_res_blocks=2, temporal_downsample=(False, True, True)
)
VAE_2_2 = VAEDims(
    decoder_dim=256,
    z_dim=48,
    dim_mult=(1, 2, 4, 4),
    num_res_blocks=2,
    temporal_downsample=(False, True, True),
    patch_size=2,
)
# Of the embedded model; a test asserts that its folder's configuration says the same.
NANO = ModelDims(
    dit=DiTDims(dim=192, ffn_dim=768, num_heads=4, num_layers=6, in_channels=12, out_channels=12),
    vae=VAEDims(
        decoder_dim=32,
        z_dim=12,
        dim_mult=(1, 2, 2),
        num_res_blocks=1,
        temporal_downsample=(True, True),
        patch_size=2,
    ),
    text=TextDims(vocab_size=256, d_model=128, d_ff=256, num_heads=4, d_kv=32, num_layers=3),
    expand_timesteps=True,
)
