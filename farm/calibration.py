"""How fast this farm really is: what workers measured, per device kind and model, and what to assume before that."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from farm.errors import NotFoundError
from farm.storage import Storage

# FLOP/s that a whole run sustains, by device kind (for "cpu": of one core). The first two follow from published times
# of the official models (14B 720P in 1838 s on an H100; 1.3B 480P in 261 s on a 4090), the others by ratio of peak.
ASSUMED_SPEED: Mapping[str, float] = MappingProxyType(
    {
        "nvidia-h100": 370e12,
        "nvidia-geforce-rtx-4090": 108e12,
        "nvidia-h200": 370e12,
        "nvidia-a100": 117e12,
        "nvidia-geforce-rtx-3090": 46e12,
        "cpu": 50e9,
    }
)
ASSUMED_VAE_SHARE = 0.125  # of that speed: the decoder runs in fp32 and waits for memory


class Calibration(BaseModel):
    """Measured speed of one model on one kind of device.

    FLOP are counted as in `farm.cost`, so that its errors of counting cancel. `overhead_seconds` is what a clip takes
    besides denoising and decoding while its device waits; `load_seconds` is from a process's start to its first step.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    device: str
    model: str
    dit_flops_per_second: float = Field(gt=0)
    vae_flops_per_second: float = Field(gt=0)
    overhead_seconds: float = Field(ge=0)
    load_seconds: float = Field(ge=0)
    num_clips: int = Field(gt=0)

    def seconds(self, dit_flops: float, vae_flops: float, *, num_clips: int) -> float:
        """Device-seconds of that much work."""
        render = dit_flops / self.dit_flops_per_second + vae_flops / self.vae_flops_per_second
        return render + self.overhead_seconds * num_clips


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One rendered clip: its work and how long its stages took; `device_seconds` last from first step to commit."""

    dit_flops: float
    vae_flops: float
    denoise_seconds: float
    decode_seconds: float
    device_seconds: float


def calibrate(
    measurements: Iterable[Measurement], *, device: str, model: str, load_seconds: float
) -> Calibration | None:
    """The speed that these clips show, None where there are none (or clocks that show nothing)."""
    clips = list(measurements)
    denoise, decode = sum(clip.denoise_seconds for clip in clips), sum(clip.decode_seconds for clip in clips)
    if not clips or denoise <= 0 or decode <= 0:
        return None
    device_seconds = sum(clip.device_seconds for clip in clips)
    return Calibration(
        device=device,
        model=model,
        dit_flops_per_second=sum(clip.dit_flops for clip in clips) / denoise,
        vae_flops_per_second=sum(clip.vae_flops for clip in clips) / decode,
        overhead_seconds=max(0.0, device_seconds - denoise - decode) / len(clips),
        load_seconds=load_seconds,
        num_clips=len(clips),
    )


def write_calibration(storage: Storage, calibration: Calibration) -> None:
    """Keep a measurement; the newest of a device and model counts."""
    path = calibration_path(calibration.device, calibration.model)
    storage.replace(path, calibration.model_dump_json(indent=1).encode())


def read_calibration(storage: Storage, device: str, *, model: str) -> Calibration | None:
    """What was measured, None where nothing was (or an older version left what this one cannot read)."""
    try:
        return Calibration.model_validate_json(storage.read(calibration_path(device, model)))
    except (NotFoundError, ValidationError):
        return None


def calibration_path(device: str, model: str) -> str:
    """Where a measurement lies below OUT."""
    return f"calibration/{device_kind(device)}/{device_kind(model)}.json"


def device_kind(name: str) -> str:
    """A device's or model's name as part of a path and key of the prices: "NVIDIA H100 NVL" is nvidia-h100-nvl."""
    return re.sub(r"[^a-z0-9.]+", "-", name.lower()).strip("-.") or "unknown"


def assumed_speed(device: str) -> float | None:
    """FLOP/s to expect of a device that was not measured, None where nothing is known of its kind."""
    kinds = [kind for kind in ASSUMED_SPEED if device == kind or device.startswith(kind + "-")]
    return ASSUMED_SPEED[max(kinds, key=len)] if kinds else None
