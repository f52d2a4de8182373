"""What rendering a clip needs of memory: counted from shapes, for one rank of a gang and for its host. Estimates."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from farm.models import Card, VAEDims
from farm.parallelism import ONE_RANK, ParallelPlan
from farm.spec import ClipSpec

GIB = 2**30
BYTES = {"float32": 4, "bfloat16": 2}
PROCESS_BYTES = 1 * GIB  # Python, torch and its libraries, before any weights
DEVICE_PROCESS_BYTES = 2 * GIB  # the same with a device's runtime
LEADER_BYTES = GIB // 2  # Python and Ray
# Of a device's memory; the rest is its context, the libraries' workspaces and what fragmentation leaves unusable.
USABLE = 0.9

# GiB of one device, by kind; where a kind comes in several sizes, the smallest. A name that tells its own size
# ("nvidia-a100-sxm4-80gb") is believed.
DEVICE_GIB: Mapping[str, int] = MappingProxyType(
    {
        "nvidia-a10": 22,
        "nvidia-a100": 40,
        "nvidia-b200": 178,
        "nvidia-geforce-rtx-3090": 24,
        "nvidia-geforce-rtx-4090": 24,
        "nvidia-geforce-rtx-5090": 32,
        "nvidia-h100": 80,
        "nvidia-h100-nvl": 94,
        "nvidia-h200": 141,
        "nvidia-l4": 22,
        "nvidia-l40s": 45,
        "nvidia-t4": 15,
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Bytes of one rank on its device, of a whole gang on its host, and of one text encoder on its host."""

    device_bytes: int
    host_bytes: int
    encoder_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """What a clip (or the hungriest of several) takes in bytes.

    Args:
        weights: of DiT (of both, where there are two experts) and VAE. Every rank of a gang holds all of them.
        denoise: activations of a pass, which the ranks of a sequence share.
        decode: working memory of the VAE, which all ranks share by rows, and which tiles divide further.
        encoder: the text encoder's process.
        other_expert: of the weights, what a rank is spared that holds one of two experts.
    """

    weights: int = 0
    denoise: int = 0
    decode: int = 0
    encoder: int = 0
    other_expert: int = 0

    def held(self, *, has_pools: bool) -> Need:
        """The same where gangs hold both experts of a model that has two, or one each."""
        spared = self.other_expert if has_pools else 0
        return replace(self, weights=self.weights - spared, other_expert=self.other_expert - spared)

    def __or__(self, other: Need) -> Need:
        """Room for either."""
        return Need(
            weights=max(self.weights, other.weights),
            denoise=max(self.denoise, other.denoise),
            decode=max(self.decode, other.decode),
            encoder=max(self.encoder, other.encoder),
            other_expert=max(self.other_expert, other.other_expert),
        )

    def rank_bytes(self, parallel: ParallelPlan = ONE_RANK, *, tiles: int = 1) -> int:
        """Of one rank: denoising and decoding come one after the other."""
        return self.weights + self.shared_bytes(parallel, tiles=tiles)

    def shared_bytes(self, parallel: ParallelPlan, *, tiles: int = 1) -> int:
        """Of one rank, besides its weights."""
        return max(self.denoise // parallel.ulysses_degree, self.decode // max(parallel.degree, tiles))

    def memory(self, device: str, *, parallel: ParallelPlan = ONE_RANK, tiles: int = 1) -> Memory:
        """Where it is taken from: on a device kind of "cpu" all of it is the host's.

        The leader holds nothing but itself. Ranks on one host of CPUs map one copy of the weights.
        """
        ranks = parallel.ranks_per_host
        if device != "cpu":
            rank, host = self.rank_bytes(parallel, tiles=tiles), LEADER_BYTES + ranks * DEVICE_PROCESS_BYTES
            return Memory(device_bytes=rank, host_bytes=host, encoder_bytes=self.encoder)
        each = PROCESS_BYTES + self.shared_bytes(parallel, tiles=tiles)
        host = LEADER_BYTES + ranks * each + self.weights
        return Memory(device_bytes=0, host_bytes=host, encoder_bytes=self.encoder)


def need_of(spec: ClipSpec, card: Card) -> Need:
    """What one clip takes."""
    dims, width = card.dims, BYTES[spec.dtype]
    vae = dims.vae
    tokens = dims.num_tokens(spec.render_width, spec.render_height, num_frames=spec.num_frames)
    vae_parameters = 2 * sum(stage_parameters(vae, multiplier) for multiplier in vae.dim_mult)
    expert = dims.dit.num_parameters * width
    return Need(
        weights=dims.num_experts * expert + vae_parameters * 4,
        other_expert=(dims.num_experts - 1) * expert,
        denoise=tokens * (8 * dims.dit.dim + 2 * dims.dit.ffn_dim) * width,
        # A chunk of four frames, the two that each convolution keeps, and what goes in and out, in fp32 at full size.
        decode=12 * vae.decoder_dim * 4 * (spec.render_width * spec.render_height) // vae.patch_size**2,
        encoder=PROCESS_BYTES + dims.text.num_parameters * BYTES[card.dtype],
    )


def stage_parameters(vae: VAEDims, multiplier: int) -> int:
    """Of the residual blocks of one stage of the decoder: two 3x3x3 convolutions each."""
    return int((vae.num_res_blocks + 1) * 2 * 27 * (vae.decoder_dim * multiplier) ** 2)


def device_memory(device: str) -> int | None:
    """Bytes of one device of that kind ("nvidia-h100-80gb-hbm3"), None where nothing is known of it."""
    own = re.search(r"-(\d+)gb?(-|$)", device)
    if own:
        return int(own[1]) * GIB
    kinds = [kind for kind in DEVICE_GIB if device == kind or device.startswith(kind + "-")]
    return DEVICE_GIB[max(kinds, key=len)] * GIB if kinds else None
