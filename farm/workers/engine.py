"""The seam between the farm and what computes: text in, states out; a spec in, frames out.

A backend is named by "module:Class". `farm.workers.wan:WanBackend` runs the model in this process;
`farm.workers.fake:FakeBackend` is its double, which needs no weights and no torch.

Legend: F frames H height W width; frames are (F, H, W, 3) uint8.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Protocol

import numpy as np
import numpy.typing as npt

from farm.errors import UsageError
from farm.provenance import Execution
from farm.spec import ClipSpec, DType

Frames = npt.NDArray[np.uint8]
StepCallback = Callable[[int, int], None]

WAN_BACKEND = "farm.workers.wan:WanBackend"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelPlan:
    """Which weights a worker loads, and onto what. `threads` are CPU threads of its process."""

    name: str
    path: str
    fingerprint: str
    dtype: DType
    device: str
    threads: int

    @property
    def embedding_key(self) -> str:
        """What decides a prompt's states besides the prompt."""
        return f"{self.fingerprint}/{self.dtype}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipText:
    """Text states as they travel: safetensors bytes. `negative` is None where guidance is off."""

    positive: bytes
    negative: bytes | None


class TextEngine(Protocol):
    """Turns prompts into states."""

    def encode(self, prompts: Sequence[str]) -> list[bytes]:
        """One safetensors file per prompt; equal prompts give equal bytes, whatever else is encoded beside them."""


class RenderEngine(Protocol):
    """Turns one spec into frames; knows nothing of files, ledgers or Ray."""

    def execution(self, spec: ClipSpec) -> Execution:
        """How this engine carries out that spec."""

    def render(self, spec: ClipSpec, text: ClipText, *, image: bytes | None, on_step: StepCallback) -> Iterator[Frames]:
        """Frames of `render_width` x `render_height`, chunk by chunk as they are decoded.

        Calls `on_step(done, total)` after every denoising step. `image` is the content of `spec.image`.
        Raises InputError for what the model cannot make, RenderError for NaN and exhausted memory.
        """


class Backend(Protocol):
    """Makes engines. Constructing one is cheap: weights are loaded by the two methods."""

    def clean_prompt(self, prompt: str) -> str:
        """The prompt as the encoder reads it: equal cleaned prompts have equal states."""

    def warnings_of(self, states: bytes) -> tuple[str, ...]:
        """What a clip's record should say of its prompt's states: that the prompt was cut."""

    def open_text(self, plan: ModelPlan) -> TextEngine: ...

    def open_render(self, plan: ModelPlan) -> RenderEngine: ...


def open_backend(name: str) -> Backend:
    """The backend at "module:Class"; UsageError where there is none."""
    module, _, attribute = name.partition(":")
    try:
        backend: Backend = getattr(import_module(module), attribute)()
    except (ImportError, AttributeError) as error:
        raise UsageError(f"WANFARM_ENGINE={name!r} names no render backend: {error}") from error
    return backend
