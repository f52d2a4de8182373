"""How the nano world is put into words: a few ways to say each thing, so that users need not learn a formula."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np

from wan_model.nano.world import BACKGROUNDS, COLOURS, SHAPES, Attributes

MOTION_PHRASES: dict[str, tuple[str, ...]] = {
    "left": ("moving left", "moving to the left", "sliding left", "drifting to the left", "going left",
             "moving from right to left"),
    "right": ("moving right", "moving to the right", "sliding right", "drifting to the right", "going right",
              "moving from left to right"),
    "up": ("moving up", "moving upwards", "rising", "sliding up", "drifting up", "going up"),
    "down": ("moving down", "moving downwards", "falling", "sliding down", "drifting down", "going down"),
    "still": ("standing still", "not moving", "staying still", "resting", "that does not move"),
}  # fmt: skip

# What only the order of the words tells apart is met more often in training: at its one in six, motion had been learned
# from every other phrase while these were still read at chance.
_PRACTISED = {
    motion: phrases + 2 * tuple(phrase for phrase in phrases if " from " in phrase)
    for motion, phrases in MOTION_PHRASES.items()
}

# {thing} names colour and shape, {motion} the motion, {place} the background after a preposition.
_TEMPLATES = (
    "{thing} {motion} {place}",
    "{thing} {motion} {place}",  # twice: the plain order is what most people write
    "{thing} {motion}, {place}",
    "{thing} {place}, {motion}",
    "{thing} {place} {motion}",
    "{place}, {thing} {motion}",
    "a video of {thing} {motion} {place}",
    "{thing} is {motion} {place}.",
)
_PLACES = ("on a {} background", "on a {} background", "against a {} background", "in front of a {} background",
           "over a {} background", "with a {} background")  # fmt: skip
# Words around the ones that count: none is in the vocabulary, all become <unk>.
_FILLERS = (
    "quickly",
    "nicely",
    "gently",
    "please",
    "cinematic",
    "beautiful",
    "someone",
    "today",
    "4k",
    "hd",
    "style",
    "very",
)
OMISSION_RATE = 0.12
FILLER_RATE = 0.08


def caption(rng: np.random.Generator, attributes: Attributes) -> str:
    """One of the phrasings that name all four attributes."""
    return _phrase(rng, attributes, shown=("colour", "motion", "background"), motions=MOTION_PHRASES)


def training_caption(rng: np.random.Generator, attributes: Attributes) -> str:
    """As `caption`, but some leave attributes out (the model then chooses) and some hold words it does not know."""
    shown: tuple[str, ...] = ("colour", "motion", "background")
    if rng.random() < OMISSION_RATE:
        shown = tuple(name for name in shown if rng.random() < 0.5)
    words = _phrase(rng, attributes, shown=shown, motions=_PRACTISED).split()
    if rng.random() < FILLER_RATE:
        words.insert(int(rng.integers(len(words) + 1)), _pick(rng, _FILLERS))
    return " ".join(words)


def mentioned(prompt: str) -> dict[str, str]:
    """What a prompt of this world names, by field of `Attributes`: to compare with what the judge reads."""
    text = " ".join(re.findall(r"[a-z]+", prompt.lower().replace("grey", "gray")))
    found = {
        "colour": _first(text, {name: (name,) for name in COLOURS}),
        "shape": _first(text, {name: (name,) for name in SHAPES}),
        "motion": _first(text, MOTION_PHRASES),
        "background": _first(text, {name: (f"{name} background",) for name in BACKGROUNDS}),
    }
    return {field: name for field, name in found.items() if name is not None}


def vocabulary() -> tuple[str, ...]:
    """Every word and mark that a caption can hold, sorted: the tokenizer's words."""
    texts = (*_TEMPLATES, *_PLACES, *COLOURS, *BACKGROUNDS, *SHAPES, *(p for ps in MOTION_PHRASES.values() for p in ps),
             "an the shape grey")  # fmt: skip
    words = re.findall(r"[a-z]+|[.,]", " ".join(re.sub(r"\{\w*\}", " ", text) for text in texts))
    return tuple(sorted(set(words)))


def _phrase(
    rng: np.random.Generator,
    attributes: Attributes,
    *,
    shown: tuple[str, ...],
    motions: Mapping[str, tuple[str, ...]],
) -> str:
    noun = f"{attributes.colour} {attributes.shape}" if "colour" in shown else attributes.shape
    background = "grey" if attributes.background == "gray" and rng.random() < 0.3 else attributes.background
    place = _pick(rng, _PLACES).format(background) if "background" in shown else ""
    text = _pick(rng, _TEMPLATES).format(
        thing=f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}",
        motion=_pick(rng, motions[attributes.motion]) if "motion" in shown else "",
        place=place,
    )
    return re.sub(r"^[ ,]+|(?<= ) +| +(?=[,.])|[ ,]+$", "", text)


def _pick(rng: np.random.Generator, choices: tuple[str, ...]) -> str:
    return choices[int(rng.integers(len(choices)))]


def _first(text: str, phrases: dict[str, tuple[str, ...]]) -> str | None:
    """The name whose phrase stands in the text; the longest phrase wins ("from left to right" holds no "left")."""
    hits = [(len(phrase), name) for name, options in phrases.items() for phrase in options
            if re.search(rf"\b{phrase}\b", text)]  # fmt: skip
    return max(hits)[1] if hits else None
