"""The backend's double: deterministic frames from a hash of the spec, without weights or torch.

For tests of everything around the model. Its prompts steer faults:

    fake:input   the input is bad                   fake:nan    NaN turns up half way
    fake:die     the process is killed              fake:bug    an error that nobody expected
    fake:slow=S  the clip takes S seconds more
"""

from __future__ import annotations

import hashlib
import os
import re
import signal
import time
from collections.abc import Iterator, Sequence
from importlib.metadata import version

import numpy as np

from farm.errors import InputError, NotFiniteError
from farm.provenance import Execution
from farm.spec import ClipSpec
from farm.workers.engine import Frames, ModelPlan, Order, Watch

CHUNK_FRAMES = 4


class FakeBackend:
    """Makes fake engines."""

    def clean_prompt(self, prompt: str) -> str:
        return prompt.strip()

    def warnings_of(self, states: bytes) -> tuple[str, ...]:
        return ()

    def open_text(self, plan: ModelPlan) -> FakeTextEngine:
        return FakeTextEngine()

    def open_render(self, plan: ModelPlan) -> FakeRenderEngine:
        return FakeRenderEngine(plan)


class FakeTextEngine:
    """States are the prompt's own bytes."""

    def encode(self, prompts: Sequence[str]) -> list[bytes]:
        return [prompt.strip().encode() for prompt in prompts]


class FakeRenderEngine:
    """A drifting gradient whose colours are a hash of spec, text and image."""

    def __init__(self, plan: ModelPlan) -> None:
        self._plan = plan

    def execution(self, spec: ClipSpec, *, is_tame: bool = False) -> Execution:
        return Execution(
            device="fake",
            threads=self._plan.threads,
            attention="none",
            libraries={"numpy": version("numpy")},
            encoder={},
        )

    def render(self, order: Order, watch: Watch) -> Iterator[Frames]:
        spec = order.spec
        asked = spec.canonical_json().encode() + order.text.positive + (order.image or b"")
        digest = hashlib.sha256(asked).digest()
        delay_s = _delay(spec.prompt) / spec.num_inference_steps
        for step in range(1, spec.num_inference_steps + 1):
            if step == (spec.num_inference_steps + 1) // 2:
                _misbehave(spec.prompt)
            time.sleep(delay_s)
            watch.stepped(step, spec.num_inference_steps)
        for first in range(0, spec.num_frames, CHUNK_FRAMES):
            numbers = range(first, min(first + CHUNK_FRAMES, spec.num_frames))
            yield np.stack([_frame(spec, digest, number) for number in numbers])

    def rebuild(self) -> None:
        """Nothing breaks."""

    def close(self) -> None:
        """Nothing is held."""


def _delay(prompt: str) -> float:
    found = re.search(r"fake:slow=([0-9.]+)", prompt)
    return float(found[1]) if found else 0.0


def _misbehave(prompt: str) -> None:
    if "fake:input" in prompt:
        raise InputError("the prompt asked for a bad input")
    if "fake:nan" in prompt:
        raise NotFiniteError("NaN in the latents")
    if "fake:bug" in prompt:
        raise ZeroDivisionError("the prompt asked for a bug")
    if "fake:die" in prompt:
        os.kill(os.getpid(), signal.SIGKILL)


def _frame(spec: ClipSpec, digest: bytes, number: int) -> Frames:
    """(H, W, 3)."""
    rows = np.arange(spec.render_height)[:, None] + number
    columns = np.arange(spec.render_width)[None, :]
    planes = [(rows * (1 + digest[i] % 3) + columns * (1 + digest[i + 3] % 3) + digest[i + 6]) % 256 for i in range(3)]
    return np.stack(planes, axis=-1).astype(np.uint8)
