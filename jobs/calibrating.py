"""What a drive measured, put where the next plan looks for it."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from farm.calibration import Measurement, calibrate, device_kind, write_calibration
from farm.cost import work_of
from farm.models import Card
from farm.parallelism import ParallelPlan
from farm.speed_up import speed_up
from farm.storage import Storage

if TYPE_CHECKING:
    from jobs.drive import Rendered
    from jobs.running import Driven


def write_speeds(out: Storage, driven: Driven, *, card: Card) -> None:
    """Keep the speed of each kind of device that rendered clips of this card's model."""
    by_device: defaultdict[str, list[Measurement]] = defaultdict(list)
    for clip in driven.rendered:
        # The clocks of a clip that began more than once know of a part of it, or of more than it took.
        is_whole = not clip.outcome.num_resumes and not clip.outcome.lost_steps
        if clip.model_name == card.name and is_whole:
            # CPUs are planned for as one kind; records tell their instruction sets apart.
            device = "cpu" if clip.outcome.device.startswith("cpu") else clip.outcome.device
            by_device[device].append(_measurement(clip, card, parallel=driven.parallel))
    for device, measurements in by_device.items():
        found = calibrate(measurements, device=device, model=card.name, load_seconds=driven.load_seconds)
        if found is not None:
            write_calibration(out, found)


def _measurement(clip: Rendered, card: Card, *, parallel: ParallelPlan) -> Measurement:
    """What a clip says of one rank: the cost model's own idea of a gang's speed-up is taken out again."""
    work, timings = work_of(clip.spec, card), clip.outcome.timings
    alone = speed_up(parallel, device_kind(clip.outcome.device))
    denoise_s, decode_s = timings.get("denoise", 0.0), timings.get("decode", 0.0)
    gang_s = clip.outcome.device_seconds / parallel.degree
    return Measurement(
        dit_flops=work.dit_flops,
        vae_flops=work.vae_flops,
        denoise_seconds=alone * denoise_s,
        decode_seconds=alone * decode_s,
        device_seconds=gang_s + (alone - 1) * (denoise_s + decode_s),
    )
