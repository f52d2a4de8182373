"""The codecs of a clip, set so that equal frames give equal bytes.

One thread each. x264's AVX-512 code for macroblock-tree rate control gives other packets from run to run, so it is
held to AVX2, which changes nothing else; that setting is part of a record's execution block.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType

import av

from farm.errors import InputError
from farm.spec import Codec


@dataclass(frozen=True, slots=True, kw_only=True)
class CodecPlan:
    """How one codec is run: encoder and pixel format by FFmpeg's names, and the encoder's options."""

    encoder: str
    pixel_format: str
    options: Mapping[str, str]

    @property
    def is_subsampled(self) -> bool:
        """Whether colour is kept for 2x2 pixels at once (and limited range), so that sides must be even."""
        return self.pixel_format == "yuv420p"


def codec_plan(codec: Codec) -> CodecPlan:
    """The plan for a codec on this machine."""
    x264 = {"x264-params": "asm=AVX2"} if _has_avx2() else {}
    plans = {
        "h264": CodecPlan(encoder="libx264", pixel_format="yuv420p", options={"preset": "medium", "crf": "17", **x264}),
        "av1": CodecPlan(
            encoder="libsvtav1",
            pixel_format="yuv420p",
            options={"preset": "8", "crf": "24", "svtav1-params": "lp=1"},
        ),
        # RGB as it is: through yuv444p, 8-bit values come back off by up to 2.
        "lossless": CodecPlan(
            encoder="libx264rgb", pixel_format="rgb24", options={"preset": "fast", "qp": "0", **x264}
        ),
    }
    return plans[codec]


def check_size(codec: Codec, *, width: int, height: int) -> None:
    """Raise InputError for a size that the codec cannot hold."""
    if codec_plan(codec).is_subsampled and (width % 2 or height % 2):
        raise InputError(f"{codec} needs even sides, not {width}x{height}; use even ones or the codec lossless")


def encoder_settings(codec: Codec) -> Mapping[str, str]:
    """What a record says of its encoder: all that decides bytes besides the frames."""
    plan = codec_plan(codec)
    return MappingProxyType(
        {
            "encoder": plan.encoder,
            "pixel_format": plan.pixel_format,
            "threads": "1",
            **plan.options,
            "av": av.__version__,
            "libavcodec": ".".join(str(part) for part in av.library_versions["libavcodec"]),
            "machine": platform.machine(),
        }
    )


@cache
def _has_avx2() -> bool:
    if platform.machine() not in ("x86_64", "AMD64"):
        return False
    try:
        return " avx2 " in Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
