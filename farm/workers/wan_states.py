"""Text states as they travel: a safetensors file of one tensor, and in its header how long the prompt was.

The length before cutting travels with the states: whoever meets them in a cache has no tokenizer.
"""

from __future__ import annotations

import json

STATES_KEY = "states"
_LENGTHS_KEY = "lengths"


def lengths_metadata(*, num_tokens: int, text_len: int) -> dict[str, str]:
    """For the file's header."""
    # One entry, since safetensors writes several in an order that changes from call to call.
    return {_LENGTHS_KEY: json.dumps({"num_tokens": num_tokens, "text_len": text_len})}


def read_lengths(data: bytes) -> tuple[int, int]:
    """Tokens of the prompt before cutting, and how many the model reads."""
    size = int.from_bytes(data[:8], "little")
    lengths = json.loads(json.loads(data[8 : 8 + size])["__metadata__"][_LENGTHS_KEY])
    return lengths["num_tokens"], lengths["text_len"]
