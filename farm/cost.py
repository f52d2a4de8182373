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
from farm.degrees import Demand
from farm.experts import NO_STEPS, PoolSizes, StepSplit, split_of
from farm.memory import Memory, Need, need_of, stage_parameters
from farm.models import Card, ModelDims, VAEDims
from farm.parallelism import ONE_RANK, ParallelPlan
from farm.settings import Settings
from farm.spec import ClipSpec
from farm.speed_up import speed_up

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
        flops += positions * 2 * stage_parameters(vae, multiplier)
        shrinks_in_time = stage < len(vae.temporal_downsample) and vae.temporal_downsample[stage]
        positions /= 8 if shrinks_in_time else 4
    return flops


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipCost:
    """One clip: what it asks for, wherever it is made."""

    work: Work
    need: Need
    is_guided: bool
    split: StepSplit = NO_STEPS


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """What the plan is estimated for: `num_actors` gangs, each rank on one device (or `threads` cores of a CPU).

    Args:
        tiles: pieces that a rank decodes a clip in.
        fits: whether a rank's device has the memory, by estimate.
        reasons: why clips are shared so, in sentences.
        pools: which of the gangs hold which expert, None where each holds all of a model.
    """

    device: str = "cpu"
    num_actors: int = 1
    threads: int = 1
    parallel: ParallelPlan = ONE_RANK
    tiles: int = 1
    fits: bool = True
    reasons: tuple[str, ...] = ()
    pools: PoolSizes | None = None

    @property
    def units(self) -> int:
        """Priced units of one rank: cores or devices."""
        return self.threads if self.device == "cpu" else 1

    @property
    def speed_up(self) -> float:
        """How much sooner a gang has a clip than one rank alone."""
        return speed_up(self.parallel, self.device)


@dataclass(slots=True, kw_only=True)
class Tally:
    """Work and needs of one model's clips in a run, added up."""

    card: Card
    num_clips: int = 0
    num_guided: int = 0
    num_tokens: int = 0
    dit_flops: float = 0.0
    vae_flops: float = 0.0
    need: Need = field(default_factory=Need)
    split: StepSplit = NO_STEPS

    def add(self, cost: ClipCost) -> None:
        """Count one clip; `need` is that of the hungriest."""
        self.num_clips += 1
        self.num_guided += cost.is_guided
        self.num_tokens += cost.work.num_tokens
        self.dit_flops += cost.work.dit_flops
        self.vae_flops += cost.work.vae_flops
        self.need |= cost.need
        self.split += cost.split

    @property
    def demand(self) -> Demand:
        """As the planner of degrees sees it."""
        return Demand(
            model=self.card.name,
            num_heads=self.card.dims.dit.num_heads,
            need=self.need,
            num_clips=self.num_clips,
            num_guided=self.num_guided,
            split=self.split,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What remains to be done. Seconds and cost are None where the device was neither measured nor is known.

    `device_seconds` are summed over all ranks of all gangs, `wall_seconds` is how long they take together, start-up
    included. `speed_up` is how much sooner a gang has a clip than one device: over `parallel.degree` it is the share of
    each device's time that renders.
    """

    num_clips: int
    num_tokens: int
    flops: float
    device: str
    num_actors: int
    parallel: ParallelPlan
    speed_up: float
    memory: Memory
    device_seconds: float | None
    wall_seconds: float | None
    cost: float | None
    currency: str
    is_measured: bool

    def finish_at(self, start: datetime) -> datetime | None:
        """When the run would end if it began at `start`."""
        return None if self.wall_seconds is None else start + timedelta(seconds=self.wall_seconds)


def cost_of(spec: ClipSpec, card: Card) -> ClipCost:
    """What one clip asks for."""
    return ClipCost(
        work=work_of(spec, card),
        need=need_of(spec, card),
        is_guided=spec.is_guided,
        split=split_of(spec, card.dims.boundary),
    )


def clip_seconds(work: Work, calibration: Calibration | None, fleet: Fleet) -> float | None:
    """Seconds of one gang for one clip, None where the device was neither measured nor is known."""
    return _gang_seconds(work, calibration, fleet, num_clips=1)


def _gang_seconds(work: Work, calibration: Calibration | None, fleet: Fleet, *, num_clips: int) -> float | None:
    if calibration is not None:
        # Measured of one rank's share, or taken back to it: see `jobs.calibrating`.
        alone_s = calibration.seconds(work.dit_flops, work.vae_flops, num_clips=0)
        return alone_s / fleet.speed_up + calibration.overhead_seconds * num_clips
    speed = assumed_speed(fleet.device)
    if speed is None:
        return None
    return (work.dit_flops + work.vae_flops / ASSUMED_VAE_SHARE) / (speed * fleet.units * fleet.speed_up)


def estimate(
    tallies: Iterable[Tally], fleet: Fleet, *, calibrations: Mapping[str, Calibration], settings: Settings
) -> Estimate:
    """Adds up a run. `calibrations` by name of model, measured on the fleet's device."""
    tallies = [tally for tally in tallies if tally.num_clips]
    seconds = [_tally_seconds(tally, calibrations.get(tally.card.name), fleet) for tally in tallies]
    known = [second for second in seconds if second is not None]
    gang_seconds = math.fsum(known) if len(known) == len(tallies) else None
    device_seconds = None if gang_seconds is None else gang_seconds * fleet.parallel.degree
    load = sum(calibrations[tally.card.name].load_seconds for tally in tallies if tally.card.name in calibrations)
    price, num_clips = settings.price(fleet.device), sum(tally.num_clips for tally in tallies)
    busy = max(1, min(fleet.num_actors, num_clips))
    need = Need()
    for tally in tallies:
        need |= tally.need.held(has_pools=fleet.pools is not None)
    is_priced = device_seconds is not None and price is not None
    return Estimate(
        num_clips=num_clips,
        num_tokens=sum(tally.num_tokens for tally in tallies),
        flops=math.fsum(tally.dit_flops + tally.vae_flops for tally in tallies),
        device=fleet.device,
        num_actors=fleet.num_actors,
        parallel=fleet.parallel,
        speed_up=fleet.speed_up,
        memory=need.memory(fleet.device, parallel=fleet.parallel, tiles=fleet.tiles),
        device_seconds=device_seconds,
        wall_seconds=None if gang_seconds is None else gang_seconds / busy + load,
        cost=(device_seconds or 0.0) / SECONDS_PER_HOUR * (price or 0.0) * fleet.units if is_priced else None,
        currency=settings.currency,
        is_measured=bool(tallies) and all(tally.card.name in calibrations for tally in tallies),
    )


def _tally_seconds(tally: Tally, calibration: Calibration | None, fleet: Fleet) -> float | None:
    total = Work(num_tokens=tally.num_tokens, dit_flops=tally.dit_flops, vae_flops=tally.vae_flops)
    return _gang_seconds(total, calibration, fleet, num_clips=tally.num_clips)
