"""What the file of a clip between two steps says of itself, and whether a clip may go on from it.

The file is safetensors. Its tensors are the engine's business; its one metadata entry, `KEY`, is a `StateHeader`.
"""

from __future__ import annotations

import hashlib
import json

from pydantic import BaseModel, ConfigDict, ValidationError

from farm.provenance import Execution
from farm.spec import RENDER_VERSION, ClipSpec

KEY = "wanfarm"
_LENGTH_BYTES = 8
# What decides how a clip is decoded and encoded, but not how it is denoised.
_AFTER_DENOISING = {"tiling", "encoder"}
_OF_OTHERS = {"high_noise"}


class StateHeader(BaseModel):
    """Whose state it is. Model weights, profile and all else that was asked are in the clip's id.

    Args:
        step: denoising steps done, of `num_steps`.
        denoising: digest of the execution block: device, ranks, libraries. Elsewhere other bits would follow.
        high_noise: see `farm.provenance.Execution`.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    clip_id: str
    step: int
    num_steps: int
    denoising: str
    render_version: int = RENDER_VERSION
    high_noise: str | None = None

    def to_metadata(self) -> dict[str, str]:
        """For the file's header."""
        return {KEY: self.model_dump_json()}


def header_for(spec: ClipSpec, execution: Execution, *, step: int, high_noise: str | None = None) -> StateHeader:
    """The header of a clip's state after so many steps, the last of them on this execution."""
    return StateHeader(
        clip_id=spec.clip_id,
        step=step,
        num_steps=spec.num_inference_steps,
        denoising=denoising_digest(execution),
        high_noise=high_noise,
    )


def denoising_digest(execution: Execution) -> str:
    """Equal for executions whose denoising is equal bit by bit."""
    known = execution.model_dump(exclude=_AFTER_DENOISING | _OF_OTHERS)
    return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()[:16]


def read_header(data: bytes) -> StateHeader:
    """The header of a file's content. ValueError where it is none of ours, or cut short."""
    size = int.from_bytes(data[:_LENGTH_BYTES], "little")
    try:
        header = json.loads(data[_LENGTH_BYTES : _LENGTH_BYTES + size])
        found = StateHeader.model_validate_json(header["__metadata__"][KEY])
    except (ValueError, KeyError, TypeError, ValidationError) as error:
        raise ValueError(f"not a sampler state: {error}") from error
    end = max((entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"), default=0)
    if len(data) != _LENGTH_BYTES + size + end:
        raise ValueError(f"a sampler state of {len(data)} bytes where its header says {_LENGTH_BYTES + size + end}")
    return found


def misfit(
    header: StateHeader, spec: ClipSpec, execution: Execution, *, handover_step: int | None = None
) -> str | None:
    """Why this clip cannot go on from that state on this execution, None if it can.

    Where it is handed over at that step, what came before may have been done on another execution: see `high_noise_of`.
    """
    wanted = header_for(spec, execution, step=header.step)
    tolerated = _OF_OTHERS | ({"denoising"} if header.step == handover_step else set())
    names = [
        name
        for name in StateHeader.model_fields
        if name not in tolerated and getattr(header, name) != getattr(wanted, name)
    ]
    return f"its {', '.join(names)} differ" if names else None


def high_noise_of(header: StateHeader, execution: Execution) -> str | None:
    """What `Execution.high_noise` is of a clip that goes on from that state on this execution."""
    return header.high_noise if header.denoising == denoising_digest(execution) else header.denoising
