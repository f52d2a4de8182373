"""Orders for gangs, and a watch that remembers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from farm.spec import ClipSpec
from farm.workers.engine import ClipText, Frames, Order, RenderEngine, SamplerState, Unwatched, Watch

PLAN: dict[str, Any] = {
    "name": "fake", "path": "/fake", "fingerprint": "f" * 64, "dtype": "float32", "device": "cpu", "threads": 1,
}  # fmt: skip


def spec_of(prompt: str = "a red circle", **more: Any) -> ClipSpec:
    """Five frames in four steps, unless told otherwise."""
    values: dict[str, Any] = {
        "prompt": prompt, "negative_prompt": "", "seed": 1, "width": 32, "height": 32, "render_width": 32,
        "render_height": 32, "num_frames": 5, "fps": 8, "num_inference_steps": 4, "guidance_high": 5.0,
        "guidance_low": 5.0, "shift": 3.0, "solver": "euler", "profile": "official", "model": "f" * 64,
        "dtype": "float32", "codec": "h264",
    }  # fmt: skip
    return ClipSpec(**(values | more))


def order_of(prompt: str = "a red circle", **more: Any) -> Order:
    """`more` is shared out between the order and its spec."""
    own = {name: more.pop(name) for name in ("state", "policy", "is_tame", "preview_every_s") if name in more}
    return Order(spec=spec_of(prompt, **more), text=ClipText(positive=prompt.encode(), negative=b""), **own)


def frames_of(engine: RenderEngine, order: Order, watch: Watch | None = None) -> Frames:
    """All frames of a clip."""
    return np.concatenate(list(engine.render(order, watch or Unwatched())))


@dataclass(slots=True, kw_only=True)
class Recorder:
    """Keeps what it hears; wishes to yield from step `yield_at` on."""

    yield_at: int | None = None
    at_step: Callable[[int], object] = lambda done: None
    steps: list[tuple[int, int]] = field(default_factory=list)
    states: list[SamplerState] = field(default_factory=list)
    previews: list[tuple[int, bytes]] = field(default_factory=list)

    def stepped(self, done: int, total: int) -> None:
        self.steps.append((done, total))
        self.at_step(done)

    def keep(self, state: SamplerState) -> None:
        self.states.append(state)

    def preview(self, step: int, image: bytes) -> None:
        self.previews.append((step, image))

    def should_yield(self) -> bool:
        return self.yield_at is not None and len(self.steps) >= self.yield_at
