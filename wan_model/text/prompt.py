"""A prompt as Wan reads it; apart from the encoder, because whoever only compares prompts needs no torch."""

from __future__ import annotations

import html
import re

import ftfy


def clean_prompt(prompt: str) -> str:
    """Mends mojibake, resolves HTML entities (twice: some are escaped twice) and collapses white space, as Wan does."""
    text = html.unescape(html.unescape(ftfy.fix_text(prompt)))
    return re.sub(r"\s+", " ", text).strip()
