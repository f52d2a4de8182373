"""The text encoder of the real backend."""

from __future__ import annotations

from collections.abc import Sequence

import safetensors.torch

from farm.workers.engine import ModelPlan
from farm.workers.wan_load import load_model
from farm.workers.wan_states import STATES_KEY, lengths_metadata
from wan_model.text.encoder import TextEncoder
from wan_model.text.states import TextStates


def open_text(plan: ModelPlan) -> WanTextEngine:
    """Loads umT5 alone."""
    pipeline = load_model(plan, components=("text",))
    if pipeline.text is None:
        raise RuntimeError("load returned no text encoder though it was asked for")
    return WanTextEngine(pipeline.text)


class WanTextEngine:
    """umT5. States travel at their true length and in the encoder's dtype."""

    def __init__(self, encoder: TextEncoder) -> None:
        self._encoder = encoder

    def encode(self, prompts: Sequence[str]) -> list[bytes]:
        states = self._encoder.encode(prompts)
        return [self._packed(prompt, text) for prompt, text in zip(prompts, states, strict=True)]

    def _packed(self, prompt: str, text: TextStates) -> bytes:
        metadata = lengths_metadata(num_tokens=self._encoder.num_tokens(prompt), text_len=self._encoder.text_len)
        return bytes(safetensors.torch.save({STATES_KEY: text.states_TD.contiguous().cpu()}, metadata=metadata))
