"""Time the VAE against diffusers' `AutoencoderKLWan`: same random weights, one process, alternating, medians.

python benchmarks/vae_decode.py --generation 2.1 --dtype float32 --frames 9 --size 128

Both clocks are shown: on a machine that others use, the processor's tells more than the wall's.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from diffusers import AutoencoderKLWan
from torch import Tensor

from wan_model.config import VAEConfig
from wan_model.vae import WanVAE
from wan_model.vae.keys import to_official
from wan_model.variants import VAE_2_1, VAE_2_2

GENERATIONS = {"2.1": VAE_2_1, "2.2": VAE_2_2}


def main() -> None:
    args = _arguments()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    config, dtype = GENERATIONS[args.generation], getattr(torch, args.dtype)
    theirs, ours = _models(config, dtype)
    latents = torch.randn(1, *config.latent_shape(args.frames, args.size, args.size))
    frames = (torch.rand(1, 3, args.frames, args.size, args.size) * 2 - 1).to(dtype)
    mean, std = torch.tensor((config.latents_mean, config.latents_std))[..., None, None, None]
    print(
        f"VAE {args.generation}, {args.dtype}, {args.frames} frames of {args.size}x{args.size}, {args.threads} threads"
    )
    with torch.no_grad():
        _compare(
            "decode",
            lambda: theirs.decode((latents * std + mean).to(dtype)).sample,
            lambda: torch.cat(list(ours.decode(latents)), dim=2),
            repeats=args.repeats,
        )
        _compare(
            "encode",
            lambda: (theirs.encode(frames).latent_dist.mean.float() - mean) / std,
            lambda: ours.encode(frames),
            repeats=args.repeats,
        )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--generation", choices=GENERATIONS, default="2.1")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--frames", type=int, default=9)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=5)
    return parser.parse_args()


def _models(config: VAEConfig, dtype: torch.dtype) -> tuple[AutoencoderKLWan, WanVAE]:
    theirs = AutoencoderKLWan(
        base_dim=config.encoder_dim,
        decoder_base_dim=config.decoder_dim,
        z_dim=config.z_dim,
        dim_mult=list(config.dim_mult),
        num_res_blocks=config.num_res_blocks,
        temperal_downsample=list(config.temporal_downsample),
        is_residual=config.is_residual,
        in_channels=3 * config.patch_size**2,
        out_channels=3 * config.patch_size**2,
        patch_size=None if config.patch_size == 1 else config.patch_size,
        scale_factor_spatial=config.spatial_stride,
    )
    theirs = theirs.to(dtype).eval()
    with torch.device("meta"):
        ours = WanVAE(config)
    weights = {to_official(key, config): value for key, value in theirs.state_dict().items()}
    ours.load_state_dict(weights, assign=True)
    return theirs, ours


def _compare(what: str, theirs: Callable[[], Tensor], ours: Callable[[], Tensor], *, repeats: int) -> None:
    want, got = theirs().float(), ours().float()  # warm both
    difference = ((got - want).abs().max() / want.abs().max()).item()
    rounds = [(_timed(theirs), _timed(ours)) for _ in range(repeats)]
    print(f"{what}: largest relative difference {difference:.1e}")
    for clock, name in enumerate(("wall", "processor")):
        pairs = [(their[clock], our[clock]) for their, our in rounds]
        their_median, our_median = (statistics.median(column) for column in zip(*pairs, strict=True))
        ratio = statistics.median(their / our for their, our in pairs)
        print(f"  {name} clock: diffusers {their_median:.3f} s, ours {our_median:.3f} s, ratio {ratio:.2f}x")


def _timed(run: Callable[[], Tensor]) -> tuple[float, float]:
    """Seconds by the wall's and by the processor's clock."""
    wall, processor = time.perf_counter(), time.process_time()
    run()
    return time.perf_counter() - wall, time.process_time() - processor


if __name__ == "__main__":
    main()
