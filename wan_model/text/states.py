"""What the text encoder hands to the DiT. Legend: T text tokens, D text model."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class TextStates:
    """The encoder's output for one prompt, cut to its true length.

    Wan pads these rows with zeros to `text_len` (512) and attends to all of them. The padding is implied here: its rows
    are equal, so the DiT computes one of them and weighs it by their number (exact, see `wan_model.dit.condition`).
    """

    states_TD: Tensor

    @property
    def num_tokens(self) -> int:
        """Rows that carry text, the end token included."""
        return self.states_TD.shape[0]
