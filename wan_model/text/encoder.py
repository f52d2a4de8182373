"""Wan's text encoder: umT5 through transformers. Legend: T text tokens, D text model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from wan_model.text.prompt import clean_prompt
from wan_model.text.states import TextStates

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase, UMT5EncoderModel


class TextEncoder:
    """Prompts to text states.

    Each prompt is encoded by itself and at its true length, never padded beside others: a matrix product's rounding
    depends on its shape, and a clip's bytes must not depend on which other prompts were encoded with it.
    """

    def __init__(self, model: UMT5EncoderModel, tokenizer: PreTrainedTokenizerBase, *, text_len: int) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.text_len = text_len

    def num_tokens(self, prompt: str) -> int:
        """Tokens of the cleaned prompt, the end token included: above `text_len`, `encode` cuts it."""
        return len(self.tokenizer(clean_prompt(prompt), truncation=False, verbose=False).input_ids)

    def encode(self, prompts: Sequence[str]) -> list[TextStates]:
        """States (T, D) in the model's dtype and on its device, one per prompt; equal prompts are encoded once."""
        cleaned = [clean_prompt(prompt) for prompt in prompts]
        states = {prompt: self._encode(prompt) for prompt in dict.fromkeys(cleaned)}
        return [states[prompt] for prompt in cleaned]

    @torch.no_grad()
    def _encode(self, prompt: str) -> TextStates:
        tokens = self.tokenizer(prompt, truncation=True, max_length=self.text_len).input_ids
        if not tokens:
            return TextStates(states_TD=self.model.shared.weight.new_zeros(0, self.model.config.d_model))
        ids = torch.tensor([tokens], device=self.model.device)
        states = self.model(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state
        return TextStates(states_TD=states[0])
