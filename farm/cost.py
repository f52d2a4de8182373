"""What clips cost: work in FLOP from shapes alone, seconds from measured (or assumed) speed, money from a price table.

A forward pass over L tokens is about 2 P L + 4 L^2 d layers FLOP (P parameters, width d), and a guided step is two of
them. That reproduces the published times of the official models; a farm's own seconds come from its calibration.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import lru_cache

from farm.calibration import ASSUMED_VAE_SHARE, Calibration, assumed_speed
from farm.models import Card, ModelDims, VAEDims
from farm.settings import Settings
from farm.spec import ClipSpec

BYTES = {"float32": 4, "bfloat16": 2}
PROCESS_BYTES = 1 * 2**30  # Python, torch and Ray, before any weights
SECONDS_PER_HOUR = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What one clip (or a sum of clips) asks of the hardware."""

    num_tokens: int
    dit_flops: float
    vae_flops: float

    @property
    def flops(self) -> float:
        return self.dit_flops + self.vae_flops


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Bytes of one renderer on its device and on its host, and of one text encoder on its host. Estimates."""

    device_bytes: int
    host_bytes: int
    encoder_bytes: int


def work_of(spec: ClipSpec, card: Card) -> Work:
    """The work of one clip: `num_tokens` are those of a single pass."""
    return _work(
        card.dims,
        width=spec.render_width,
        height=spec.render_height,
        num_frames=spec.num_frames,
        num_passes=spec.num_inference_steps * (2 if spec.is_guided else 1),
    )


@lru_cache(maxsize=4096)
def _work(dims: ModelDims, *, width: int, height: int, num_frames: int, num_passes: int) -> Work:
    tokens, dit = dims.num_tokens(width, height, num_frames=num_frames), dims.dit
    forward = 2 * dit.num_parameters * tokens + 4 * tokens**2 * dit.dim * dit.num_layers
    decode = _decode_flops(dims.vae, width=width, height=height, num_frames=num_frames)
    return Work(num_tokens=tokens, dit_flops=float(forward * num_passes), vae_flops=decode)


def _decode_flops(vae: VAEDims, *, width: int, height: int, num_frames: int) -> float:
    """FLOP of the decoder's residual blocks (two 3x3x3 convolutions each), where nearly all of its time goes."""
    positions = float(num_frames * (width // vae.patch_size) * (height // vae.patch_size))
    flops = 0.0
    for stage, multiplier in enumerate(vae.dim_mult):  # from full resolution inwards
        flops += positions * 2 * _stage_parameters(vae, multiplier)
        shrinks_in_time = stage < len(vae.temporal_downsample) and vae.temporal_downsample[stage]
        positions /= 8 if shrinks_in_time else 4
    return flops


def _stage_parameters(vae: VAEDims, multiplier: int) -> int:
    return int((vae.num_res_blocks + 1) * 2 * 27 * (vae.decoder_dim * multiplier) ** 2)


def memory_of(spec: ClipSpec, card: Card, *, device: str) -> Memory:
    """What rendering this clip needs; on a device kind of "cpu" all of it is host memory."""
    dims, width = card.dims, BYTES[spec.dtype]
    tokens = dims.num_tokens(spec.render_width, spec.render_height, num_frames=spec.num_frames)
    vae = dims.vae
    vae_parameters = 2 * sum(_stage_parameters(vae, multiplier) for multiplier in vae.dim_mult)
    weights = dims.num_experts * dims.dit.num_parameters * width + vae_parameters * 4
    denoise = tokens * (8 * dims.dit.dim + 2 * dims.dit.ffn_dim) * width
    # A chunk of four frames, the two that each convolution keeps, and what goes in and out, in fp32 at full size.
    decode = 12 * vae.decoder_dim * 4 * (spec.render_width * spec.render_height) // vae.patch_size**2
    render = weights + max(denoise, decode)
    encoder = PROCESS_BYTES + dims.text.num_parameters * BYTES[card.dtype]
    if device == "cpu":
        return Memory(device_bytes=0, host_bytes=PROCESS_BYTES + render, encoder_bytes=encoder)
    return Memory(device_bytes=render, host_bytes=2 * PROCESS_BYTES, encoder_bytes=encoder)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipCost:
    """One clip. `seconds` of one device; None where it was neither measured nor is known."""

    work: Work
    memory: Memory
    seconds: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """What the plan is estimated for: `num_actors` renderers, each on one device (or `threads` cores of a CPU)."""

    device: str = "cpu"
    num_actors: int = 1
    threads: int = 1

    @property
    def units(self) -> int:
        """Priced units of one actor: cores or devices."""
        return self.threads if self.device == "cpu" else 1


@dataclass(slots=True, kw_only=True)
class Tally:
    """Work and memory of one model's clips in a run, added up."""

    card: Card
    num_clips: int = 0
    num_tokens: int = 0
    dit_flops: float = 0.0
    vae_flops: float = 0.0
    memory: Memory = field(default_factory=lambda: Memory(device_bytes=0, host_bytes=0, encoder_bytes=0))

    def add(self, cost: ClipCost) -> None:
        """Count one clip; memory is that of the hungriest."""
        self.num_clips += 1
        self.num_tokens += cost.work.num_tokens
        self.dit_flops += cost.work.dit_flops
        self.vae_flops += cost.work.vae_flops
        self.memory = _larger(self.memory, cost.memory)


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What remains to be done. Seconds and cost are None where the device was neither measured nor is known.

    `device_seconds` are summed over all actors, `wall_seconds` is how long they take together, start-up included.
    """

    num_clips: int
    num_tokens: int
    flops: float
    device: str
    num_actors: int
    memory: Memory
    device_seconds: float | None
    wall_seconds: float | None
    cost: float | None
    currency: str
    is_measured: bool

    def finish_at(self, start: datetime) -> datetime | None:
        """When the run would end if it began at `start`."""
        return None if self.wall_seconds is None else start + timedelta(seconds=self.wall_seconds)


def cost_of(spec: ClipSpec, card: Card, *, fleet: Fleet, calibration: Calibration | None) -> ClipCost:
    """What one clip takes on one actor of the fleet."""
    work = work_of(spec, card)
    seconds = clip_seconds(work, calibration, fleet)
    return ClipCost(work=work, memory=memory_of(spec, card, device=fleet.device), seconds=seconds)


def clip_seconds(work: Work, calibration: Calibration | None, fleet: Fleet) -> float | None:
    """Seconds of one device for one clip, None where the device was neither measured nor is known."""
    if calibration is not None:
        return calibration.seconds(work.dit_flops, work.vae_flops, num_clips=1)
    speed = assumed_speed(fleet.device)
    if speed is None:
        return None
    return (work.dit_flops + work.vae_flops / ASSUMED_VAE_SHARE) / (speed * fleet.units)


def estimate(
    tallies: Iterable[Tally], fleet: Fleet, *, calibrations: Mapping[str, Calibration], settings: Settings
) -> Estimate:
    """Adds up a run. `calibrations` by name of model, measured on the fleet's device."""
    tallies = [tally for tally in tallies if tally.num_clips]
    seconds = [_tally_seconds(tally, calibrations.get(tally.card.name), fleet) for tally in tallies]
    known = [second for second in seconds if second is not None]
    device_seconds = math.fsum(known) if len(known) == len(tallies) else None
    load = sum(calibrations[tally.card.name].load_seconds for tally in tallies if tally.card.name in calibrations)
    price, num_clips = settings.price(fleet.device), sum(tally.num_clips for tally in tallies)
    busy = max(1, min(fleet.num_actors, num_clips))
    memory = Memory(device_bytes=0, host_bytes=0, encoder_bytes=0)
    for tally in tallies:
        memory = _larger(memory, tally.memory)
    is_priced = device_seconds is not None and price is not None
    return Estimate(
        num_clips=num_clips,
        num_tokens=sum(tally.num_tokens for tally in tallies),
        flops=math.fsum(tally.dit_flops + tally.vae_flops for tally in tallies),
        device=fleet.device,
        num_actors=fleet.num_actors,
        memory=memory,
        device_seconds=device_seconds,
        wall_seconds=None if device_seconds is None else device_seconds / busy + load,
        cost=(device_seconds or 0.0) / SECONDS_PER_HOUR * (price or 0.0) * fleet.units if is_priced else None,
        currency=settings.currency,
        is_measured=bool(tallies) and all(tally.card.name in calibrations for tally in tallies),
    )


def _tally_seconds(tally: Tally, calibration: Calibration | None, fleet: Fleet) -> float | None:
    if calibration is not None:
        return calibration.seconds(tally.dit_flops, tally.vae_flops, num_clips=tally.num_clips)
    total = Work(num_tokens=tally.num_tokens, dit_flops=tally.dit_flops, vae_flops=tally.vae_flops)
    return clip_seconds(total, None, fleet)


def _larger(one: Memory, other: Memory) -> Memory:
    return Memory(
        device_bytes=max(one.device_bytes, other.device_bytes),
        host_bytes=max(one.host_bytes, other.host_bytes),
        encoder_bytes=max(one.encoder_bytes, other.encoder_bytes),
    )
