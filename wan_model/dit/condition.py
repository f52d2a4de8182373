"""The text as the DiT reads it: real rows, and the padding as one weighed row.

Legend: B batch, T text rows, D text model.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from wan_model.dit.layers import BlockCondition
from wan_model.text.states import TextStates


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """Everything of a request that stays the same over its steps: each block's cross-attention keys and values.

    `text_bias_BT` weighs the padding row (log of how many rows it stands for); None where no prompt is padded.
    """

    blocks: tuple[BlockCondition, ...]
    vace_blocks: tuple[BlockCondition, ...]
    text_bias_BT: Tensor | None


def collapse_padding(text: Sequence[TextStates], text_len: int) -> tuple[Tensor, Tensor | None]:
    """Stacks prompts to (B, T, D) with one zero row last, and the scores' bias (B, T).

    Attention to n equal keys is attention to one of them with log(n) added to its score, so this is exact. Rows beyond
    a shorter prompt of the batch get -inf. With every prompt `text_len` long there is no padding, and no bias.
    """
    longest = max(states.num_tokens for states in text)
    if longest > text_len:
        raise ValueError(f"text states have {longest} tokens, the model reads {text_len}: truncate the prompt")
    if all(states.num_tokens == text_len for states in text):
        return torch.stack([states.states_TD for states in text]), None
    first = text[0].states_TD
    stacked = first.new_zeros(len(text), longest + 1, first.shape[1])
    bias = torch.full((len(text), longest + 1), -math.inf, dtype=torch.float32)
    for row, states in enumerate(text):
        stacked[row, : states.num_tokens] = states.states_TD
        bias[row, : states.num_tokens] = 0.0
        if states.num_tokens < text_len:
            bias[row, -1] = math.log(text_len - states.num_tokens)
    return stacked, bias.to(first.device)
