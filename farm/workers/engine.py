"""The seam between the farm and what computes: text in, states out; an order in, frames out.

A backend is named by "module:Class". `farm.workers.wan:WanBackend` is the model, which the ranks of
a gang open each in its own process; `farm.workers.fake:FakeBackend` is its double, which needs no weights and no torch.

Legend: F frames H height W width; frames are (F, H, W, 3) uint8.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from farm.errors import UsageError
from farm.experts import handover_step
from farm.parallelism import ONE_RANK, Exchange, ParallelPlan
from farm.provenance import Execution
from farm.spec import ClipSpec, DType

Frames = npt.NDArray[np.uint8]

Experts = Literal["all", "high", "low"]
"""Which experts of a two-expert model an engine holds: "high" renders up to the boundary, "low" from there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Handover:
    """Where clips go from gangs of the high-noise expert to gangs of the low-noise one, as one of the two sees it."""

    is_giver: bool
    boundary: float

    def step(self, spec: ClipSpec) -> int:
        """Steps of that clip that are done before."""
        return handover_step(spec, self.boundary)


WAN_BACKEND = "farm.workers.wan:WanBackend"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelPlan:
    """Which weights a gang loads, and onto what.

    Args:
        threads: CPU threads of each rank.
        tiles: into how many strips of rows the VAE cuts frames; None decodes them whole.
        exchange: whose all-to-all the ranks use.
        boundary: of a model with two experts, see `farm.models.ModelDims`.
    """

    name: str
    path: str
    fingerprint: str
    dtype: DType
    device: str
    threads: int
    parallel: ParallelPlan = ONE_RANK
    experts: Experts = "all"
    tiles: int | None = None
    exchange: Exchange = "torch"
    boundary: float | None = None

    @property
    def handover(self) -> Handover | None:
        """None where one gang makes clips from beginning to end."""
        if self.experts == "all" or self.boundary is None:
            return None
        return Handover(is_giver=self.experts == "high", boundary=self.boundary)

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


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointPolicy:
    """When the state of a clip in work is kept: so many steps or seconds after the last time, and before decoding."""

    every_steps: int | None = None
    every_s: float = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplerState:
    """A clip between two steps, as a safetensors file; `step` steps are done. See `farm.sampler_state`."""

    step: int
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One clip to render.

    Args:
        image: content of `spec.image`.
        state: where to go on; None begins with noise.
        is_tame: the careful way after a clip failed: decoded in tiles, and by one rank alone.
        high_noise: see `farm.provenance.Execution`; kept with the states.
        preview_every_s: pause between two previews, which change nothing about the clip; None is none.
    """

    spec: ClipSpec
    text: ClipText
    image: bytes | None = None
    state: SamplerState | None = None
    is_tame: bool = False
    policy: CheckpointPolicy = CheckpointPolicy()
    high_noise: str | None = None
    preview_every_s: float | None = None


class Watch(Protocol):
    """Who hears of a render's steps, and may end it between two of them, or between two pieces of its decoding."""

    def stepped(self, done: int, total: int) -> None:
        """After every denoising step."""

    def keep(self, state: SamplerState) -> None:
        """A state that is due. What this raises ends the render."""

    def preview(self, step: int, image: bytes) -> None:
        """What the clip will look like, as far as can be told after that step; where the order wants previews."""

    def should_yield(self) -> bool:
        """Whether to put the clip down: asked after every step, whose state is then kept, and between two pieces of
        decoding, for which the last step's state was.
        """


class Unwatched:
    """Nobody listens and nobody interferes."""

    def stepped(self, done: int, total: int) -> None:
        pass

    def keep(self, state: SamplerState) -> None:
        pass

    def preview(self, step: int, image: bytes) -> None:
        pass

    def should_yield(self) -> bool:
        return False


class RenderEngine(Protocol):
    """Turns orders into frames; knows nothing of files, ledgers or Ray. A gang is one, and so is each of its ranks."""

    def execution(self, spec: ClipSpec, *, is_tame: bool = False) -> Execution:
        """How this engine carries out that spec."""

    def render(self, order: Order, watch: Watch) -> Iterator[Frames]:
        """Frames of `render_width` x `render_height`, chunk by chunk as they are decoded.

        An engine of the high-noise expert alone keeps the state at the boundary and yields no frames.

        Raises:
            InputError: what the model cannot make.
            RenderError: NaN, or memory that ran out.
            GangError: a rank died or hangs; `rebuild` before the next order.
            ClipYielded: the watch wished it; the state was kept, of the last step where the clip was being decoded.
        """

    def rebuild(self) -> None:
        """Make the engine fit for work after a GangError. GangStartError where that fails."""

    def close(self) -> None:
        """Let go of processes and devices."""


class RankEngine(RenderEngine, Protocol):
    """The engine inside a rank. Rank 0 keeps states and yields frames; the others take part and yield none."""

    def environment(self, *, is_tame: bool = False) -> Execution:
        """How this engine carries out any spec, `encoder` left empty: rank and leader need not share a machine."""


class Seat(Protocol):
    """A rank's place in its gang, for an engine to find the other ranks from. Rank 0 opens the store they meet at."""

    @property
    def rank(self) -> int: ...

    @property
    def shared_folder(self) -> Path | None:
        """Where ranks of one host may put what all of them load; it goes when all are ready."""

    def beat(self) -> None:
        """To be called after every piece of decoding. After a step the watch is enough."""

    def announce(self, port: int) -> None:
        """Called by rank 0: the store listens there."""

    def meeting_point(self) -> tuple[str, int]:
        """Host and port of rank 0's store; waits for its announcement."""


class Backend(Protocol):
    """Makes engines. Constructing one is cheap: weights are loaded by the two methods."""

    def clean_prompt(self, prompt: str) -> str:
        """The prompt as the encoder reads it: equal cleaned prompts have equal states."""

    def warnings_of(self, states: bytes) -> tuple[str, ...]:
        """What a clip's record should say of its prompt's states: that the prompt was cut."""

    def open_text(self, plan: ModelPlan) -> TextEngine: ...

    def open_render(self, plan: ModelPlan, seat: Seat | None = None) -> RankEngine:
        """The engine of the rank at that seat; without one, of a model alone in this process."""


def open_backend(name: str) -> Backend:
    """The backend at "module:Class"; UsageError where there is none."""
    module, _, attribute = name.partition(":")
    try:
        backend: Backend = getattr(import_module(module), attribute)()
    except (ImportError, AttributeError) as error:
        raise UsageError(f"WANFARM_ENGINE={name!r} names no render backend: {error}") from error
    return backend
