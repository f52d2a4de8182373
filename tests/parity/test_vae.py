"""The VAE equals diffusers' in both generations, streamed as in one piece, and bears the official names."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from diffusers import AutoencoderKLWan
from diffusers.loaders.single_file_utils import convert_wan_vae_to_diffusers
from tiny_wan import redrawn
from torch import Tensor

from wan_model.config import VAEConfig
from wan_model.vae import WanVAE
from wan_model.vae.cache import InferenceCache
from wan_model.vae.keys import to_diffusers, to_official
from wan_model.variants import VAE_2_1, VAE_2_2

TOLERANCE = 1e-4  # of the largest value, float32
TINY_2_1 = replace(VAE_2_1, encoder_dim=8, decoder_dim=8)
TINY_2_2 = replace(VAE_2_2, encoder_dim=8, decoder_dim=16)
NANO = replace(
    VAE_2_2, encoder_dim=16, decoder_dim=16, dim_mult=(1, 2, 2), num_res_blocks=1, temporal_downsample=(True, True)
)
CONFIGS = {"2.1": TINY_2_1, "2.2": TINY_2_2, "nano": NANO}
Pair = tuple[AutoencoderKLWan, WanVAE]


@pytest.fixture(params=CONFIGS)
def pair(request: pytest.FixtureRequest) -> Pair:
    """diffusers' VAE and ours with the same weights."""
    config = CONFIGS[request.param]
    theirs = redrawn(diffusers_vae(config), seed=3)
    ours = WanVAE(config)
    ours.load_state_dict({to_official(key, config): value for key, value in theirs.state_dict().items()})
    return theirs, ours.requires_grad_(False)


def diffusers_vae(config: VAEConfig) -> AutoencoderKLWan:
    pixel_channels = 3 * config.patch_size**2
    return AutoencoderKLWan(
        base_dim=config.encoder_dim,
        decoder_base_dim=config.decoder_dim,
        z_dim=config.z_dim,
        dim_mult=list(config.dim_mult),
        num_res_blocks=config.num_res_blocks,
        temperal_downsample=list(config.temporal_downsample),
        is_residual=config.is_residual,
        in_channels=pixel_channels,
        out_channels=pixel_channels,
        patch_size=None if config.patch_size == 1 else config.patch_size,
        scale_factor_spatial=config.spatial_stride,
    )


def statistics(config: VAEConfig) -> tuple[Tensor, Tensor]:
    mean, std = torch.tensor((config.latents_mean, config.latents_std))[..., None, None, None]
    return mean, std


def draw(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(11))


def draw_frames(config: VAEConfig, num_latents: int, height: int, width: int) -> Tensor:
    stride = config.spatial_stride
    return draw(1, 3, 1 + config.temporal_stride * (num_latents - 1), height * stride, width * stride).clamp(-1, 1)


def largest_difference(got: Tensor, want: Tensor) -> float:
    assert got.shape == want.shape
    return float((got - want).abs().max() / want.abs().max())


SHAPES = [(1, 1, 2, 2), (1, 4, 3, 5), (2, 3, 4, 3)]  # batch, latent frames, latent height, latent width


@pytest.mark.parametrize("shape", SHAPES)
def test_decode_equals_diffusers(pair: Pair, shape: tuple[int, int, int, int]) -> None:
    theirs, ours = pair
    batch, *size = shape
    latents = draw(batch, ours.config.z_dim, *size)
    mean, std = statistics(ours.config)
    with torch.no_grad():
        want = theirs.decode(latents * std + mean).sample
    got = torch.cat(list(ours.decode(latents)), dim=2)
    assert want.abs().mean() > 0.05
    assert largest_difference(got, want) < TOLERANCE


@pytest.mark.parametrize("size", [(1, 2, 2), (3, 3, 5)])
def test_encode_equals_diffusers(pair: Pair, size: tuple[int, int, int]) -> None:
    theirs, ours = pair
    frames = draw_frames(ours.config, *size)
    mean, std = statistics(ours.config)
    with torch.no_grad():
        want = theirs.encode(frames).latent_dist
    moments = ours.moments(frames)
    assert largest_difference(ours.encode(frames), (want.mean - mean) / std) < TOLERANCE
    assert largest_difference(moments[0], want.mean) < TOLERANCE
    assert largest_difference(moments[1].clamp(-30, 20), want.logvar) < TOLERANCE


def test_streamed_equals_whole_clip(pair: Pair) -> None:
    _, ours = pair
    latents = draw(1, ours.config.z_dim, 4, 3, 2)
    mean, std = statistics(ours.config)
    whole = ours.reconstruct(latents * std + mean).clamp(-1, 1)
    assert largest_difference(torch.cat(list(ours.decode(latents)), dim=2), whole) < TOLERANCE


def test_decode_yields_a_frame_then_strides_and_can_be_left(pair: Pair) -> None:
    _, ours = pair
    latents = draw(1, ours.config.z_dim, 3, 2, 2)
    chunks = ours.decode(latents)
    assert isinstance(chunks, Iterator)
    abandoned = next(chunks)
    assert [chunk.shape[2] for chunk in ours.decode(latents)] == [1, 4, 4]
    assert torch.equal(next(ours.decode(latents)), abandoned)


def test_same_input_gives_same_bytes(pair: Pair) -> None:
    _, ours = pair
    latents = draw(1, ours.config.z_dim, 3, 3, 2)
    for first, second in zip(ours.decode(latents), ours.decode(latents), strict=True):
        assert torch.equal(first, second)


def test_decoded_chunks_stay_as_they_were(pair: Pair) -> None:
    """What was handed out is not a buffer that the next chunk overwrites."""
    _, ours = pair
    latents = draw(1, ours.config.z_dim, 4, 2, 2)
    kept = list(ours.decode(latents))
    for chunk, again in zip(kept, ours.decode(latents), strict=True):
        assert torch.equal(chunk, again)


def test_cache_does_not_grow_with_the_clip(pair: Pair) -> None:
    _, ours = pair
    cache, sizes = InferenceCache(), []
    for _ in range(5):
        ours.decoder(draw(1, ours.config.z_dim, 1, 2, 2), cache)
        sizes.append(sum(frames.nbytes for frames in (*cache._past.values(), *cache._windows.values())))
    assert sizes[1] == sizes[2] == sizes[4] > sizes[0] > 0


def test_decode_clamps_and_reconstruct_does_not(pair: Pair) -> None:
    _, ours = pair
    z = 30 * draw(1, ours.config.z_dim, 1, 2, 2)
    ours.decoder.head[2].bias.data.add_(2)
    assert ours.reconstruct(z).max() > 1
    assert next(ours.decode(z)).max() == 1


def test_training_paths_have_gradients_everywhere(pair: Pair) -> None:
    _, ours = pair
    ours.requires_grad_(True)
    mean, logvar = ours.moments(draw_frames(ours.config, 2, 2, 2))
    (ours.reconstruct(mean).square().mean() + logvar.mean()).backward()
    assert [name for name, weight in ours.named_parameters() if weight.grad is None or not weight.grad.any()] == []


def test_gradients_equal_diffusers(pair: Pair) -> None:
    """Ours of the clip in one piece, theirs through the cache."""
    theirs, ours = pair
    z = draw(1, ours.config.z_dim, 3, 2, 3)
    ours.requires_grad_(True)
    ours.reconstruct(z).clamp(-1, 1).square().sum().backward()
    theirs.decode(z).sample.square().sum().backward()
    wanted = {to_official(key, ours.config): weight.grad for key, weight in theirs.named_parameters()}
    for name in ("decoder.conv1.weight", "decoder.middle.1.to_qkv.weight", "decoder.head.0.gamma"):
        assert largest_difference(ours.get_parameter(name).grad, wanted[name]) < TOLERANCE  # type: ignore[arg-type]


def test_activations_decide_the_dtype_of_training(pair: Pair) -> None:
    _, ours = pair
    frames = draw_frames(ours.config, 2, 2, 2)
    half, full = ours.moments(frames.bfloat16())[0], ours.moments(frames)[0]
    assert half.dtype == torch.bfloat16
    assert largest_difference(half.float(), full) < 0.1


def test_bfloat16_stays_near_float32(pair: Pair) -> None:
    _, ours = pair
    latents = draw(1, ours.config.z_dim, 3, 3, 2)
    want = torch.cat(list(ours.decode(latents)), dim=2)
    got = torch.cat(list(ours.bfloat16().decode(latents)), dim=2)
    assert got.dtype == torch.bfloat16
    assert float((got.float() - want).norm() / want.norm()) < 0.05


@pytest.mark.parametrize(("shape", "fault"), [
    ((1, 3, 4, 32, 32), "1 + 4n frames"), ((1, 3, 5, 32, 40), "multiples of"), ((1, 4, 5, 32, 32), "3 channels"),
])  # fmt: skip
def test_encode_refuses_frames_of_a_wrong_size(shape: tuple[int, ...], fault: str) -> None:
    with pytest.raises(ValueError, match=fault.replace("+", r"\+")):
        WanVAE(TINY_2_2).encode(torch.zeros(shape))


def test_decode_refuses_another_number_of_channels() -> None:
    with pytest.raises(ValueError, match="16 channels"):
        next(WanVAE(TINY_2_1).decode(torch.zeros(1, 48, 1, 2, 2)))


def test_shortcuts_refuse_channels_that_form_no_groups() -> None:
    with pytest.raises(ValueError, match="dim_mult"):
        WanVAE(replace(NANO, dim_mult=(1, 2, 4)))


@pytest.mark.parametrize(("config", "millions"), [(VAE_2_1, 126.9), (VAE_2_2, 704.7)], ids=["2.1", "2.2"])
def test_full_size_has_the_published_parameters(config: VAEConfig, millions: float) -> None:
    with torch.device("meta"):
        ours, theirs = WanVAE(config), diffusers_vae(config)
    assert sum(weight.numel() for weight in ours.parameters()) / 1e6 == pytest.approx(millions, abs=0.05)
    assert Counter(p.shape for p in ours.parameters()) == Counter(p.shape for p in theirs.parameters())
    for key, value in theirs.state_dict().items():
        assert ours.state_dict()[to_official(key, config)].shape == value.shape


def test_names_of_2_1_are_the_official_ones() -> None:
    """Checked by diffusers' own converter of official single files."""
    with torch.device("meta"):
        ours, theirs = WanVAE(VAE_2_1), diffusers_vae(VAE_2_1)
    converted = convert_wan_vae_to_diffusers(dict(ours.state_dict()))
    assert {key: value.shape for key, value in converted.items()} == shapes(theirs)


OFFICIAL_2_2 = {
    "encoder.conv1.weight": (160, 12, 3, 3, 3),
    "encoder.downsamples.0.downsamples.2.resample.1.weight": (160, 160, 3, 3),
    "encoder.downsamples.1.downsamples.0.shortcut.weight": (320, 160, 1, 1, 1),
    "encoder.downsamples.1.downsamples.2.time_conv.weight": (320, 320, 3, 1, 1),
    "encoder.downsamples.3.downsamples.1.residual.6.weight": (640, 640, 3, 3, 3),
    "encoder.middle.0.residual.0.gamma": (640, 1, 1, 1),
    "encoder.middle.1.norm.gamma": (640, 1, 1),
    "encoder.head.2.weight": (96, 640, 3, 3, 3),
    "conv1.weight": (96, 96, 1, 1, 1),
    "conv2.bias": (48,),
    "decoder.conv1.weight": (1024, 48, 3, 3, 3),
    "decoder.middle.1.to_qkv.weight": (3072, 1024, 1, 1),
    "decoder.upsamples.0.upsamples.3.time_conv.weight": (2048, 1024, 3, 1, 1),
    "decoder.upsamples.1.upsamples.3.resample.1.weight": (1024, 1024, 3, 3),
    "decoder.upsamples.2.upsamples.0.shortcut.weight": (512, 1024, 1, 1, 1),
    "decoder.upsamples.3.upsamples.2.residual.3.gamma": (256, 1, 1, 1),
    "decoder.head.0.gamma": (256, 1, 1, 1),
    "decoder.head.2.weight": (12, 256, 3, 3, 3),
}


def test_names_of_2_2_are_the_official_ones() -> None:
    """One of each kind, from Wan2.2 `wan/modules/vae2_2.py`; that there are no others, the shapes' count above says."""
    with torch.device("meta"):
        ours = shapes(WanVAE(VAE_2_2))
    assert OFFICIAL_2_2.items() <= ours.items()


def shapes(module: torch.nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in module.state_dict().items()}


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_keys_go_there_and_back(config: VAEConfig) -> None:
    with torch.device("meta"):
        official, diffusers = WanVAE(config).state_dict(), diffusers_vae(config).state_dict()
    assert {to_diffusers(key, config) for key in official} == set(diffusers)
    assert {to_official(key, config) for key in diffusers} == set(official)


def test_unknown_keys_are_named() -> None:
    for translate, key in itertools.product((to_official, to_diffusers), ("encoder.nothing.weight", "weight")):
        with pytest.raises(KeyError, match=key):
            translate(key, TINY_2_1)
