"""What a leader and its ranks say to each other. `number` counts a gang's orders."""

from __future__ import annotations

from dataclasses import dataclass

from farm.provenance import Execution
from farm.workers.engine import Frames, ModelPlan, Order, SamplerState


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """To a rank, first of all: what to load."""

    backend: str
    plan: ModelPlan


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreOpened:
    """From rank 0: its store for the others to meet at listens on this port."""

    port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Meeting:
    """To the other ranks: where rank 0's store is."""

    host: str
    port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """From a rank that has loaded its share: how it carries out an order, and a tame one; without the encoder."""

    execution: Execution
    tame: Execution


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """To the ranks: render this."""

    number: int
    order: Order


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """To the ranks: put the clip down after the step in work, whose state is kept, or the piece of decoding."""

    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Leave:
    """To the ranks: end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stepped:
    """From each rank after each denoising step: its beat."""

    done: int
    total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoded:
    """From each rank after each piece of decoding: its beat."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """From rank 0: a state that was due."""

    state: SamplerState


@dataclass(frozen=True, slots=True, kw_only=True)
class Previewed:
    """From rank 0: what the clip will look like, as far as can be told after that step."""

    step: int
    image: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """From rank 0: frames that are whole."""

    frames: Frames


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """From each rank: its part of the order is over; `is_yielded` where it was put down."""

    is_yielded: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """From a rank: an exception ended the order, or its start."""

    error_class: str
    message: str
    traceback: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Gone:
    """A rank's channel has closed: its process ended, or its host is out of reach. No rank sends this."""


Message = (
    Setup
    | StoreOpened
    | Meeting
    | Ready
    | Work
    | Stop
    | Leave
    | Stepped
    | Decoded
    | Kept
    | Previewed
    | Chunk
    | Done
    | Failed
    | Gone
)
