"""The causal 3-D VAE of Wan: clips of 1 + 4n frames to normalised latents and back.

B batch  C channels  F frames  H height  W width.
One forward serves a clip of any chunking: with an empty `FrameCache` the first frame is the clip's first, and each
later chunk goes on where the cache stands. Training hands in the whole clip, decoding a latent frame at a time.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from wan_model.config import VAEConfig
from wan_model.parallel.seam import AllRows, RowShare
from wan_model.vae.blocks import AttentionBlock, Head, ResidualBlock
from wan_model.vae.cache import FrameCache, InferenceCache
from wan_model.vae.layers import CausalConv3d, pointwise
from wan_model.vae.resample import Downsample, Upsample, average_down, duplicate_up, patchify, unpatchify


class DownStage(nn.Module):
    """Residual blocks, then half the resolution, with an averaging shortcut around both (generation 2.2)."""

    def __init__(self, in_dim: int, out_dim: int, *, num_blocks: int, factor_t: int, factor_s: int) -> None:
        super().__init__()
        _check_shortcut(in_dim * factor_t * factor_s**2, out_dim)
        self.out_dim, self.factor_t, self.factor_s = out_dim, factor_t, factor_s
        self.downsamples = nn.ModuleList(_residual_blocks(in_dim, out_dim, num_blocks))
        if factor_s > 1:
            self.downsamples.append(Downsample(out_dim, temporal=factor_t > 1))

    def forward(self, x: Tensor, cache: FrameCache) -> Tensor:
        shortcut = average_down(x, out_dim=self.out_dim, factor_t=self.factor_t, factor_s=self.factor_s)
        return _run(self.downsamples, x, cache) + shortcut


class UpStage(nn.Module):
    """Residual blocks, then double the resolution, with a duplicating shortcut around both (generation 2.2)."""

    def __init__(self, in_dim: int, out_dim: int, *, num_blocks: int, factor_t: int, factor_s: int) -> None:
        super().__init__()
        if factor_s > 1:
            _check_shortcut(out_dim * factor_t * factor_s**2, in_dim)
        self.out_dim, self.factor_t, self.factor_s = out_dim, factor_t, factor_s
        self.upsamples = nn.ModuleList(_residual_blocks(in_dim, out_dim, num_blocks))
        if factor_s > 1:
            self.upsamples.append(Upsample(out_dim, out_dim, temporal=factor_t > 1))

    def forward(self, x: Tensor, cache: FrameCache) -> Tensor:
        y = _run(self.upsamples, x, cache)
        if self.factor_s == 1:
            return y
        shortcut = duplicate_up(x, out_dim=self.out_dim, factor_t=self.factor_t, factor_s=self.factor_s)
        # The clip's first frame was not doubled: its duplicate in front is one too many.
        return y + shortcut[:, :, -y.shape[2] :]


class Encoder(nn.Module):
    def __init__(self, config: VAEConfig) -> None:
        super().__init__()
        dims = [config.encoder_dim * mult for mult in (1, *config.dim_mult)]
        self.conv1 = CausalConv3d(3 * config.patch_size**2, dims[0])
        self.downsamples = nn.ModuleList(_down_stages(config, dims))
        self.middle = _middle(dims[-1])
        self.head = Head(dims[-1], 2 * config.z_dim)

    def forward(self, x: Tensor, cache: FrameCache) -> Tensor:
        """(B, 3 * patch², F, H, W) -> (B, 2 * z_dim, F', H', W')."""
        x = cache.extend(self.conv1, x)
        x = _run(self.downsamples, x, cache)
        x = _run(self.middle, x, cache)
        return self.head(x, cache)


class Decoder(nn.Module):
    def __init__(self, config: VAEConfig) -> None:
        super().__init__()
        dims = [config.decoder_dim * mult for mult in (config.dim_mult[-1], *reversed(config.dim_mult))]
        self.conv1 = CausalConv3d(config.z_dim, dims[0])
        self.middle = _middle(dims[0])
        self.upsamples = nn.ModuleList(_up_stages(config, dims))
        self.head = Head(dims[-1], 3 * config.patch_size**2)

    def forward(self, z: Tensor, cache: FrameCache) -> Tensor:
        """(B, z_dim, F', H', W') -> (B, 3 * patch², F, H, W)."""
        return self.back(self.front(z, cache), cache)

    def front(self, z: Tensor, cache: FrameCache) -> Tensor:
        """What needs whole frames, for its attention sees all pixels; small, at the resolution of latents."""
        return _run(self.middle, cache.extend(self.conv1, z), cache)

    def back(self, x: Tensor, cache: FrameCache) -> Tensor:
        """What looks at the neighbourhood of a pixel alone, so that rows can be decoded apart."""
        return self.head(_run(self.upsamples, x, cache), cache)


class WanVAE(nn.Module):
    """Encoder and decoder of both generations. Parameter names are those of the official state dicts."""

    def __init__(self, config: VAEConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.conv1 = nn.Conv3d(2 * config.z_dim, 2 * config.z_dim, 1)
        self.conv2 = nn.Conv3d(config.z_dim, config.z_dim, 1)
        self.decoder = Decoder(config)

    @torch.no_grad()
    def encode(self, frames: Tensor) -> Tensor:
        """Frames (B, 3, 1 + 4n, H, W) in [-1, 1] to normalised latents in float32: the mode, not a sample.

        Computed in the weights' dtype, a chunk at a time. Raises ValueError for a size that the strides do not divide.
        """
        self._check_frames(frames)
        cache, stride = InferenceCache(), self.config.temporal_stride
        chunks = frames.tensor_split(list(range(1, frames.shape[2], stride)), dim=2)
        means = [self._moments(chunk.to(self.conv1.weight.dtype), cache)[0].float() for chunk in chunks]
        mean, std = self._latent_statistics(frames.device)
        return (torch.cat(means, dim=2) - mean) / std

    @torch.no_grad()
    def decode(self, latents: Tensor, *, rows: RowShare | None = None) -> Iterator[Tensor]:
        """Normalised latents (B, z_dim, F', H', W') to frames (B, 3, f, H, W) in [-1, 1], a latent frame at a time.

        The first chunk has one frame, each later one `temporal_stride`. Computed in the weights' dtype. With `rows`
        the frames are those rows alone, and the ranks that share them decode at the same time; one without rows yields
        empty tensors. Raises ValueError for another number of channels.
        """
        rows = rows or AllRows(stop=latents.shape[3])
        cache = InferenceCache(rows)
        for x in self.fronts(latents):
            own = x[:, :, :, rows.start : rows.stop]
            yield self.frames(self.decoder.back(own, cache)) if rows.start < rows.stop else own

    def fronts(self, latents: Tensor) -> Iterator[Tensor]:
        """Normalised latents through the decoder's front, a latent frame at a time: (B, C, 1, H', W')."""
        if latents.shape[1] != self.config.z_dim:
            raise ValueError(f"latents {tuple(latents.shape)}: {self.config.z_dim} channels expected")
        cache = InferenceCache()
        mean, std = self._latent_statistics(latents.device)
        for latent in latents.split(1, dim=2):
            z = (latent.float() * std + mean).to(self.conv2.weight.dtype)
            yield self.decoder.front(pointwise(self.conv2, z), cache)

    def frames(self, decoded: Tensor) -> Tensor:
        """The decoder's answer as frames in [-1, 1]."""
        return unpatchify(decoded, self.config.patch_size).clamp_(-1, 1)

    def moments(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of the latents, not normalised. Whole clip at once, differentiable, for training."""
        self._check_frames(frames)
        return self._moments(frames, FrameCache())

    def reconstruct(self, z: Tensor) -> Tensor:
        """Frames of unnormalised latents, unclamped. Whole clip at once, differentiable, for training."""
        z = pointwise(self.conv2, z)  # channels-last from here on
        return unpatchify(self.decoder(z, FrameCache()), self.config.patch_size)

    def _moments(self, frames: Tensor, cache: FrameCache) -> tuple[Tensor, Tensor]:
        patches = patchify(frames, self.config.patch_size).contiguous(memory_format=torch.channels_last_3d)
        mean, logvar = pointwise(self.conv1, self.encoder(patches, cache)).chunk(2, dim=1)
        return mean, logvar

    def _latent_statistics(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of each latent channel, (z_dim, 1, 1, 1)."""
        statistics = (self.config.latents_mean, self.config.latents_std)
        mean, std = torch.tensor(statistics, dtype=torch.float32, device=device)[..., None, None, None]
        return mean, std

    def _check_frames(self, frames: Tensor) -> None:
        config = self.config
        _, channels, num_frames, height, width = frames.shape
        faults = []
        if channels != 3:
            faults.append(f"3 channels expected, not {channels}")
        if (num_frames - 1) % config.temporal_stride:
            faults.append(f"1 + {config.temporal_stride}n frames expected, not {num_frames}")
        if height % config.spatial_stride or width % config.spatial_stride:
            faults.append(f"height and width must be multiples of {config.spatial_stride}, not {height} and {width}")
        if faults:
            raise ValueError(f"frames {tuple(frames.shape)}: {'; '.join(faults)}")


def _residual_blocks(in_dim: int, out_dim: int, num_blocks: int) -> list[nn.Module]:
    return [ResidualBlock(in_dim if i == 0 else out_dim, out_dim) for i in range(num_blocks)]


def _middle(dim: int) -> nn.ModuleList:
    return nn.ModuleList([ResidualBlock(dim, dim), AttentionBlock(dim), ResidualBlock(dim, dim)])


def _down_stages(config: VAEConfig, dims: list[int]) -> Iterator[nn.Module]:
    """Generation 2.1 lists all blocks flat, 2.2 a `DownStage` per resolution; the last one keeps its resolution."""
    temporal = (*config.temporal_downsample, None)
    for in_dim, out_dim, halves_frames in zip(dims[:-1], dims[1:], temporal, strict=True):
        is_last = halves_frames is None
        if config.is_residual:
            factor_t, factor_s = (2 if halves_frames else 1), (1 if is_last else 2)
            yield DownStage(in_dim, out_dim, num_blocks=config.num_res_blocks, factor_t=factor_t, factor_s=factor_s)
        else:
            yield from _residual_blocks(in_dim, out_dim, config.num_res_blocks)
            if not is_last:
                yield Downsample(out_dim, temporal=bool(halves_frames))


def _up_stages(config: VAEConfig, dims: list[int]) -> Iterator[nn.Module]:
    """As `_down_stages`, from the smallest resolution up; 2.1's upsampling halves the channels."""
    temporal = (*reversed(config.temporal_downsample), None)
    num_blocks = config.num_res_blocks + 1
    for index, (in_dim, out_dim, doubles_frames) in enumerate(zip(dims[:-1], dims[1:], temporal, strict=True)):
        is_last = doubles_frames is None
        if config.is_residual:
            factor_t, factor_s = (2 if doubles_frames else 1), (1 if is_last else 2)
            yield UpStage(in_dim, out_dim, num_blocks=num_blocks, factor_t=factor_t, factor_s=factor_s)
        else:
            yield from _residual_blocks(in_dim if index == 0 else in_dim // 2, out_dim, num_blocks)
            if not is_last:
                yield Upsample(out_dim, out_dim // 2, temporal=bool(doubles_frames))


def _check_shortcut(many: int, few: int) -> None:
    """A parameter-free shortcut averages or repeats whole groups of channels."""
    if many % few:
        raise ValueError(f"VAE shortcut: {many} channels do not form {few} equal groups; change dim_mult")


def _run(blocks: nn.ModuleList, x: Tensor, cache: FrameCache) -> Tensor:
    for block in blocks:
        x = block(x, cache)
    return x
