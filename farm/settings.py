"""Settings: one frozen object, and the only place that reads `WANFARM_*` from the environment.

| variable | meaning | default |
|---|---|---|
| WANFARM_CACHE | folder of what can be computed again (hashes of inputs and weights) | ~/.cache/wanfarm |
| WANFARM_MODELS | folders in which `--model NAME` is looked for, separated as in PATH | none |
| WANFARM_STORAGE_OPTIONS | JSON {"s3": {"endpoint_url": ..., "key": ...}} for fsspec; never shown | {} |
| WANFARM_PRICES | JSON {device kind: price of an hour of one device}; added to the table below | {} |
| WANFARM_CURRENCY | what the prices are in | USD |
| WANFARM_THREADS | threads of a rendering process | all cores |
| WANFARM_MAX_INPUT_BYTES | largest input file (image) that is fetched | 64 MiB |
| WANFARM_MAX_IMAGE_PIXELS | largest input image that is decoded | 50 million |
| WANFARM_INPUT_TIMEOUT_S | how long fetching one input may take | 60 |
| WANFARM_CHECKPOINT_STEPS | steps after which a clip's state is kept (and always before it is decoded) | by time |
| WANFARM_CHECKPOINT_S | seconds after which it is kept | 60 |
| WANFARM_HANG_FLOOR_S | how long a rank may always be silent before it is taken to hang, a first step 60 times | 60 |
| WANFARM_ULYSSES | whose all-to-all the ranks of a gang use, torch or deepspeed (equal to the bit) | torch |
| WANFARM_LOG | what standard error is written as: text for people, or json, one object a line | text |
| WANFARM_LOG_LEVEL | from which level on: debug, info, warning, error | info for json, else warning |
| WANFARM_TRACES | OTLP/HTTP address of a collector for spans (wanfarm[traces]) | OTEL_EXPORTER_OTLP_ENDPOINT, or none |
| WANFARM_ENGINE | another render backend, "module:Class"; tests use farm.workers.fake:FakeBackend | the model itself |
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, get_args

from farm.errors import UsageError
from farm.parallelism import EXCHANGES, Exchange

PREFIX = "WANFARM_"
KNOWN = (
    "WANFARM_CACHE",
    "WANFARM_MODELS",
    "WANFARM_STORAGE_OPTIONS",
    "WANFARM_PRICES",
    "WANFARM_CURRENCY",
    "WANFARM_THREADS",
    "WANFARM_MAX_INPUT_BYTES",
    "WANFARM_MAX_IMAGE_PIXELS",
    "WANFARM_INPUT_TIMEOUT_S",
    "WANFARM_CHECKPOINT_STEPS",
    "WANFARM_CHECKPOINT_S",
    "WANFARM_HANG_FLOOR_S",
    "WANFARM_ULYSSES",
    "WANFARM_LOG",
    "WANFARM_LOG_LEVEL",
    "WANFARM_TRACES",
    "WANFARM_ENGINE",
)

# OpenTelemetry's own name for the address that all of a process's telemetry goes to.
COLLECTOR = "OTEL_EXPORTER_OTLP_ENDPOINT"

LogFormat = Literal["text", "json"]
LogLevel = Literal["debug", "info", "warning", "error"]

# Rough on-demand prices of one device for an hour (for "cpu": one core), so that a plan has an order of magnitude to
# show before anyone has entered their own. Kinds are matched by their longest prefix.
DEFAULT_PRICES: Mapping[str, float] = MappingProxyType(
    {
        "cpu": 0.04,
        "nvidia-geforce-rtx-3090": 0.25,
        "nvidia-geforce-rtx-4090": 0.45,
        "nvidia-l40s": 0.90,
        "nvidia-a100": 1.60,
        "nvidia-h100": 2.70,
        "nvidia-h200": 3.40,
        "nvidia-b200": 5.00,
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What holds for every command on this machine. `storage_options` hold secrets and stay out of `repr`."""

    cache_dir: Path = field(default_factory=lambda: Path.home() / ".cache" / "wanfarm")
    model_dirs: tuple[Path, ...] = ()
    storage_options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, repr=False)
    prices: Mapping[str, float] = field(default_factory=lambda: dict(DEFAULT_PRICES))
    currency: str = "USD"
    threads: int | None = None
    max_input_bytes: int = 64 * 2**20
    max_image_pixels: int = 50_000_000
    input_timeout_s: float = 60.0
    checkpoint_steps: int | None = None
    checkpoint_s: float = 60.0
    hang_floor_s: float = 60.0
    ulysses: Exchange = "torch"
    log: LogFormat = "text"
    log_level: LogLevel | None = None
    traces: str | None = None
    engine: str | None = None

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Settings:
        """Settings of the environment (or of `environ`). UsageError naming every wrong or unknown WANFARM_*."""
        return _Reader(os.environ if environ is None else environ).settings()

    def options_for(self, protocol: str) -> dict[str, Any]:
        """fsspec's keyword arguments for a protocol ("s3"); empty for those not set."""
        return dict(self.storage_options.get(protocol, {}))

    def price(self, device: str) -> float | None:
        """Price of an hour of one device of that kind ("nvidia-h100-80gb-hbm3"), None where no entry is its prefix."""
        entries = [kind for kind in self.prices if device == kind or device.startswith(kind + "-")]
        return self.prices[max(entries, key=len)] if entries else None


class _Reader:
    """Reads each variable once and gathers every fault before it complains."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.values = {key: value for key, value in environ.items() if key.startswith(PREFIX) and value != ""}
        self.collector = environ.get(COLLECTOR) or None
        self.faults = [f"{key} is not a setting" for key in sorted(self.values) if key not in KNOWN]

    def settings(self) -> Settings:
        found: dict[str, Any] = {
            "cache_dir": self.path("CACHE"),
            "model_dirs": self.paths("MODELS"),
            "storage_options": self.storage_options(),
            "prices": self.prices(),
            "currency": self.values.get(PREFIX + "CURRENCY"),
            "threads": self.number("THREADS", whole=True),
            "max_input_bytes": self.number("MAX_INPUT_BYTES", whole=True),
            "max_image_pixels": self.number("MAX_IMAGE_PIXELS", whole=True),
            "input_timeout_s": self.number("INPUT_TIMEOUT_S", whole=False),
            "checkpoint_steps": self.number("CHECKPOINT_STEPS", whole=True),
            "checkpoint_s": self.number("CHECKPOINT_S", whole=False),
            "hang_floor_s": self.number("HANG_FLOOR_S", whole=False),
            "ulysses": self.choice("ULYSSES", EXCHANGES),
            "log": self.choice("LOG", get_args(LogFormat)),
            "log_level": self.choice("LOG_LEVEL", get_args(LogLevel)),
            "traces": self.traces(),
            "engine": self.values.get(PREFIX + "ENGINE"),
        }
        if self.faults:
            raise UsageError("; ".join(self.faults) + f" (settings: {', '.join(KNOWN)})")
        return Settings(**{key: value for key, value in found.items() if value is not None})

    def path(self, name: str) -> Path | None:
        value = self.values.get(PREFIX + name)
        return Path(value).expanduser() if value else None

    def paths(self, name: str) -> tuple[Path, ...] | None:
        value = self.values.get(PREFIX + name)
        return tuple(Path(part).expanduser() for part in value.split(os.pathsep) if part) if value else None

    def number(self, name: str, *, whole: bool) -> float | None:
        value = self.values.get(PREFIX + name)
        if value is None:
            return None
        try:
            number = int(value) if whole else float(value)
        except ValueError:
            number = math.nan
        if not 0 < number < math.inf:
            self.faults.append(f"{PREFIX}{name} must be a positive {'whole ' if whole else ''}number, not {value!r}")
            return None
        return number

    def choice(self, name: str, options: tuple[str, ...]) -> str | None:
        value = self.values.get(PREFIX + name)
        if value is not None and value not in options:
            self.faults.append(f"{PREFIX}{name} must be one of {', '.join(options)}, not {value!r}")
        return value

    def traces(self) -> str | None:
        """The address is not repeated in the fault: it may hold a password."""
        value = self.values.get(PREFIX + "TRACES")
        if value is not None and not value.startswith(("http://", "https://")):
            self.faults.append(f"{PREFIX}TRACES must be an address that begins with http:// or https://")
        return value or self.collector

    def table(self, name: str) -> dict[str, Any]:
        """A JSON object. Its text is not repeated in the fault: storage options hold secrets."""
        try:
            value = json.loads(self.values.get(PREFIX + name, "{}"))
        except ValueError:
            value = None
        if isinstance(value, dict):
            return value
        self.faults.append(f"{PREFIX}{name} must be a JSON object")
        return {}

    def storage_options(self) -> dict[str, Any] | None:
        options = self.table("STORAGE_OPTIONS")
        wrong = sorted(key for key, value in options.items() if not isinstance(value, dict))
        if wrong:
            self.faults.append(
                f"{PREFIX}STORAGE_OPTIONS must hold one JSON object per protocol; not so: {', '.join(wrong)}"
            )
        return options or None

    def prices(self) -> dict[str, float] | None:
        prices = self.table("PRICES")
        for kind, price in prices.items():
            if isinstance(price, bool) or not isinstance(price, int | float) or not 0 <= price < math.inf:
                self.faults.append(f"{PREFIX}PRICES[{kind!r}] must be a price, not {price!r}")
        return {**DEFAULT_PRICES, **prices} if prices else None
