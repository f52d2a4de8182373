"""Models as the service offers them: where they are, how their clips are rendered, what one is expected to take."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from farm.models import Card, ModelRef
from farm.spec import ClipSpec, RenderOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """One model that requests may name.

    Args:
        options: what decides pixels or bytes beside the request (profile, codec, dtype).
        estimate: device-seconds of one clip on a gang of one; None where nobody knows.
    """

    ref: ModelRef
    options: RenderOptions = field(default_factory=RenderOptions)
    estimate: Callable[[ClipSpec], float | None] = lambda _: None

    @property
    def name(self) -> str:
        return self.ref.name

    @property
    def card(self) -> Card:
        return self.ref.card
