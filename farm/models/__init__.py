"""The models a farm can render with: where their folders are, what each can do, and the hash of its weights."""

from __future__ import annotations

from farm.models.cards import IMAGE_TO_VIDEO, TEXT_TO_VIDEO, Card
from farm.models.catalogue import CARDS, NANO_CARD
from farm.models.dims import ModelDims, VAEDims
from farm.models.folder import read_dims
from farm.models.resolve import EMBEDDED, ModelRef, chosen_model, find_model, resolve_model

__all__ = [
    "CARDS",
    "EMBEDDED",
    "IMAGE_TO_VIDEO",
    "NANO_CARD",
    "TEXT_TO_VIDEO",
    "Card",
    "ModelDims",
    "ModelRef",
    "VAEDims",
    "chosen_model",
    "find_model",
    "read_dims",
    "resolve_model",
]
