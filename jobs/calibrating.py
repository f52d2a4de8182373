"""What a drive measured, put where the next plan looks for it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import TYPE_CHECKING

from farm.calibration import Measurement, calibrate, write_calibration
from farm.cost import work_of
from farm.models import Card
from farm.storage import Storage

if TYPE_CHECKING:
    from jobs.drive import Rendered


def write_speeds(out: Storage, rendered: Iterable[Rendered], *, card: Card, load_seconds: float) -> None:
    """Keep the speed of each kind of device that rendered clips of this card's model."""
    by_device: defaultdict[str, list[Measurement]] = defaultdict(list)
    for clip in rendered:
        if clip.model_name == card.name:
            # CPUs are planned for as one kind; records tell their instruction sets apart.
            device = "cpu" if clip.outcome.device.startswith("cpu") else clip.outcome.device
            by_device[device].append(_measurement(clip, card))
    for device, measurements in by_device.items():
        found = calibrate(measurements, device=device, model=card.name, load_seconds=load_seconds)
        if found is not None:
            write_calibration(out, found)


def _measurement(clip: Rendered, card: Card) -> Measurement:
    work, timings = work_of(clip.spec, card), clip.outcome.timings
    return Measurement(
        dit_flops=work.dit_flops,
        vae_flops=work.vae_flops,
        denoise_seconds=timings.get("denoise", 0.0),
        decode_seconds=timings.get("decode", 0.0),
        device_seconds=clip.outcome.device_seconds,
    )
