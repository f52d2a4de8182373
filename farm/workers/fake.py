"""The backend's double: deterministic frames from a hash of the spec, without weights or torch.

For tests of everything around the model. Its prompts steer faults, half way through the steps:

    fake:input   the input is bad                   fake:nan    NaN turns up
    fake:oom     memory runs out                    fake:bug    an error that nobody expected
    fake:die     the rank's process is killed       fake:hang   the rank does nothing any more, for ever
    fake:text    its prompt cannot be encoded
    fake:slow=S  its steps take S seconds more      fake:decode-slow=S   its decoding does

and a fault's name may be followed by any of these, in this order:

    -decode      while decoding instead             -rank=N     in rank N; otherwise in rank 0
    -whole       not where the order is tame        -once=PATH  only where there is no such file, which it makes
"""

from __future__ import annotations

import hashlib
import os
import re
import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import numpy as np
import safetensors.numpy

from farm.errors import ClipYielded, InputError, MemoryExhaustedError, NotFiniteError
from farm.provenance import Execution
from farm.sampler_state import header_for
from farm.spec import ClipSpec
from farm.workers.engine import Frames, ModelPlan, Order, SamplerState, Seat, Watch
from farm.workers.previewing import Previewer

CHUNK_FRAMES = 4
PREVIEW_STRIDE = 8
_FAULT = re.compile(r"fake:(input|nan|oom|bug|die|hang)(-decode)?(?:-rank=(\d+))?(-whole)?(?:-once=(\S+))?")

Stage = Literal["denoise", "decode"]


class FakeBackend:
    """Makes fake engines."""

    def clean_prompt(self, prompt: str) -> str:
        return prompt.strip()

    def warnings_of(self, states: bytes) -> tuple[str, ...]:
        return ()

    def open_text(self, plan: ModelPlan) -> FakeTextEngine:
        return FakeTextEngine()

    def open_render(self, plan: ModelPlan, seat: Seat | None = None) -> FakeRenderEngine:
        return FakeRenderEngine(plan, seat)


class FakeTextEngine:
    """States are the prompt's own bytes."""

    def encode(self, prompts: Sequence[str]) -> list[bytes]:
        if any("fake:text" in prompt for prompt in prompts):
            raise ValueError("a prompt that no encoder takes")
        return [prompt.strip().encode() for prompt in prompts]


class FakeRenderEngine:
    """A drifting gradient whose colours are a hash of spec, text and image. That hash is its sampler state, too.

    Its ranks know nothing of each other: each goes through all steps, and rank 0 has the frames.
    """

    def __init__(self, plan: ModelPlan, seat: Seat | None = None) -> None:
        self._plan = plan
        self._seat = seat
        self._rank = 0 if seat is None else seat.rank

    def environment(self, *, is_tame: bool = False) -> Execution:
        is_shared = self._plan.parallel.degree > 1 and not is_tame
        return Execution(
            device="fake",
            degree=self._plan.parallel.degree if is_shared else 1,
            parallel=str(self._plan.parallel) if is_shared else None,
            tiling="rows/4" if is_tame else None,
            threads=self._plan.threads,
            attention="none",
            libraries={"numpy": version("numpy")},
            encoder={},
        )

    def execution(self, spec: ClipSpec, *, is_tame: bool = False) -> Execution:
        return self.environment(is_tame=is_tame)

    def render(self, order: Order, watch: Watch) -> Iterator[Frames]:
        spec, digest = order.spec, _digest(order)
        self._denoise(order, watch, digest)
        if self._plan.experts == "high":
            return
        fault = _fault_of(order, rank=self._rank, stage="decode")
        for first in range(0, spec.num_frames, CHUNK_FRAMES):
            if first and fault is not None:
                fault.happen()
            if first and watch.should_yield():
                raise ClipYielded(f"put down after {first} of {spec.num_frames} frames")
            time.sleep(_delay(spec.prompt, "decode-slow") * CHUNK_FRAMES / spec.num_frames)
            if self._seat is not None:
                self._seat.beat()
            numbers = range(first, min(first + CHUNK_FRAMES, spec.num_frames))
            if self._rank == 0:
                yield np.stack([_frame(spec, digest, number) for number in numbers])

    def rebuild(self) -> None:
        """Nothing breaks."""

    def close(self) -> None:
        """Nothing is held."""

    def _denoise(self, order: Order, watch: Watch, digest: bytes) -> None:
        """Every step of the plan's experts, and the states that are due. ClipYielded."""
        spec, total = order.spec, order.spec.num_inference_steps
        begun = kept = 0 if order.state is None else order.state.step
        last = self._last_step(spec, begun)
        every_steps, every_s, kept_s = order.policy.every_steps or total, order.policy.every_s, time.monotonic()
        fault = _fault_of(order, rank=self._rank, stage="denoise")
        previewer = Previewer(order, watch, fps=spec.fps / CHUNK_FRAMES)
        for step in range(begun + 1, last + 1):
            if step == (total + 1) // 2 and fault is not None:
                fault.happen()
            time.sleep(_delay(spec.prompt) / total)
            watch.stepped(step, total)
            if self._rank == 0:
                previewer.offer(step, partial(_preview, spec, digest, clearness=step / total))
            is_yielding = watch.should_yield()
            is_due = step - kept >= every_steps or time.monotonic() - kept_s >= every_s
            if self._rank == 0 and (is_due or is_yielding or step == last):
                kept, kept_s = step, time.monotonic()
                watch.keep(self._state(order, digest, step))
            if is_yielding:
                raise ClipYielded(f"put down after step {step} of {total}")

    def _last_step(self, spec: ClipSpec, begun: int) -> int:
        """InputError where the low-noise expert was to begin too early."""
        handover = self._plan.handover
        if handover is None:
            return spec.num_inference_steps
        if not handover.is_giver and begun < handover.step(spec):
            raise InputError(f"{begun} steps are done: the low-noise expert begins after {handover.step(spec)}")
        return handover.step(spec) if handover.is_giver else spec.num_inference_steps

    def _state(self, order: Order, digest: bytes, step: int) -> SamplerState:
        header = header_for(order.spec, self.environment(is_tame=order.is_tame), step=step, high_noise=order.high_noise)
        tensors = {"digest": np.frombuffer(digest, dtype=np.uint8)}
        return SamplerState(step=step, data=safetensors.numpy.save(tensors, metadata=header.to_metadata()))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Fault:
    kind: str
    once: Path | None

    def happen(self) -> None:
        if self.once is not None:
            if self.once.exists():
                return
            self.once.touch()
        if self.kind == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        while self.kind == "hang":
            signal.pause()
        raise {
            "input": InputError("the prompt asked for a bad input"),
            "nan": NotFiniteError("NaN in the latents"),
            "oom": MemoryExhaustedError("the prompt asked for more memory than there is"),
            "bug": ZeroDivisionError("the prompt asked for a bug"),
        }[self.kind]


def _fault_of(order: Order, *, rank: int, stage: Stage) -> _Fault | None:
    """What befalls this rank in that stage. Bad input and NaN come upon all ranks alike, unless one is named."""
    found = _FAULT.search(order.spec.prompt)
    if found is None:
        return None
    kind, decode, named, whole, once = found.groups()
    is_everyones = named is None and kind in ("input", "nan")
    if not is_everyones and rank != int(named or 0):
        return None
    if bool(decode) != (stage == "decode") or (whole and order.is_tame):
        return None
    return _Fault(kind=kind, once=None if once is None else Path(once))


def _digest(order: Order) -> bytes:
    """Of all that was asked; a clip that goes on takes it from its state."""
    if order.state is not None:
        return bytes(safetensors.numpy.load(order.state.data)["digest"])
    asked = order.spec.canonical_json().encode() + order.text.positive + (order.image or b"")
    return hashlib.sha256(asked).digest()


def _delay(prompt: str, name: str = "slow") -> float:
    found = re.search(rf"fake:{name}=([0-9.]+)", prompt)
    return float(found[1]) if found else 0.0


def _frame(spec: ClipSpec, digest: bytes, number: int) -> Frames:
    """(H, W, 3)."""
    rows = np.arange(spec.render_height)[:, None] + number
    columns = np.arange(spec.render_width)[None, :]
    planes = [(rows * (1 + digest[i] % 3) + columns * (1 + digest[i + 3] % 3) + digest[i + 6]) % 256 for i in range(3)]
    return np.stack(planes, axis=-1).astype(np.uint8)


def _preview(spec: ClipSpec, digest: bytes, *, clearness: float) -> Frames:
    """Every so many frames and pixels of the clip to come, out of grey: (F, H, W, 3)."""
    numbers = range(0, spec.num_frames, CHUNK_FRAMES)
    frames = np.stack([_frame(spec, digest, number)[::PREVIEW_STRIDE, ::PREVIEW_STRIDE] for number in numbers])
    return (128 + (frames - 128.0) * clearness).astype(np.uint8)
