"""What a Wan model is made of, as frozen data: a variant is a complete value.

A checkpoint's own config decides its dimensions; the table in `variants.py` gives defaults.

Sources: the official Wan2.1 and Wan2.2 configurations and the config files of the converted diffusers repositories.
"""

from __future__ import annotations

from dataclasses import dataclass

OFFICIAL_NEGATIVE_PROMPT = (
    "色调艳丽，过曝，静态，细节模糊不清，字幕，风格，作品，画作，画面，静止，整体发灰，最差质量，低质量，JPEG压缩残留，"
    "丑陋的，残缺的，多余的手指，画得不好的手部，画得不好的脸部，畸形的，毁容的，形态畸形的肢体，手指融合，静止不动的画面，"
    "杂乱的背景，三条腿，背景人很多，倒着走"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TextConfig:
    """A umT5 encoder (`transformers.UMT5EncoderModel`)."""

    vocab_size: int
    d_model: int
    d_ff: int
    num_heads: int
    d_kv: int
    num_layers: int
    relative_attention_num_buckets: int = 32
    relative_attention_max_distance: int = 128
    text_len: int = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class DiTConfig:
    """The diffusion transformer.

    `image_dim` is the width of CLIP's image states (I2V 2.1), `image_tokens` the rows of a learned position table over
    them (FLF2V). `vace_layers` names the blocks that carry a VACE copy, `vace_in_channels` its input channels.
    """

    dim: int
    ffn_dim: int
    num_heads: int
    num_layers: int
    in_channels: int
    out_channels: int
    text_dim: int
    freq_dim: int = 256
    patch_size: tuple[int, int, int] = (1, 2, 2)
    text_len: int = 512
    eps: float = 1e-6
    image_dim: int | None = None
    image_tokens: int | None = None
    vace_layers: tuple[int, ...] = ()
    vace_in_channels: int | None = None

    @property
    def head_dim(self) -> int:
        return self.dim // self.num_heads


@dataclass(frozen=True, slots=True, kw_only=True)
class VAEConfig:
    """The causal 3-D VAE. `is_residual` is generation 2.2 (average-down and duplicate-up shortcuts)."""

    encoder_dim: int
    decoder_dim: int
    z_dim: int
    dim_mult: tuple[int, ...]
    num_res_blocks: int
    temporal_downsample: tuple[bool, ...]
    is_residual: bool
    patch_size: int
    latents_mean: tuple[float, ...]
    latents_std: tuple[float, ...]

    @property
    def spatial_stride(self) -> int:
        return self.patch_size * 2 ** (len(self.dim_mult) - 1)

    @property
    def temporal_stride(self) -> int:
        return 2 ** sum(self.temporal_downsample)

    def latent_shape(self, num_frames: int, height: int, width: int) -> tuple[int, int, int, int]:
        """(z_dim, latent frames, latent height, latent width) of a clip in pixels."""
        stride = self.spatial_stride
        return (self.z_dim, (num_frames - 1) // self.temporal_stride + 1, height // stride, width // stride)


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingDefaults:
    """What a clip gets where its request says nothing. `guidance_low` rules below `boundary` (two experts only)."""

    num_inference_steps: int
    shift: float
    guidance_high: float
    guidance_low: float
    fps: int
    num_frames: int
    width: int
    height: int
    solver: str = "unipc"
    boundary: float | None = None
    negative_prompt: str = OFFICIAL_NEGATIVE_PROMPT


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """A whole model.

    `has_low_noise_expert`: two DiTs of the same dimensions. `expand_timesteps`: TI2V, a timestep per latent frame.
    """

    name: str
    text: TextConfig
    dit: DiTConfig
    vae: VAEConfig
    defaults: SamplingDefaults
    has_low_noise_expert: bool = False
    expand_timesteps: bool = False

    @property
    def size_multiple(self) -> int:
        """Pixels that width and height must be a multiple of."""
        return self.vae.spatial_stride * self.dit.patch_size[1]
