"""The judge reads rendered truth without fault, and a shuffled caption agrees with it no more often than chance."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest
from numpy.typing import NDArray

from wan_model.nano.judge import Reading, judge
from wan_model.nano.world import BACKGROUNDS, COLOURS, MOTIONS, SHAPES, Attributes, combinations, render, sample_scene

FIELDS = ("colour", "shape", "motion", "background")
NUM_CHOICES = {
    "colour": len(COLOURS),
    "shape": len(SHAPES),
    "motion": len(MOTIONS),
    "background": len(BACKGROUNDS),
}


@pytest.fixture(scope="module")
def truth() -> list[Attributes]:
    """A third of all combinations, each once."""
    chosen = np.random.default_rng(11).permutation(len(combinations()))[:216]
    return [combinations()[index] for index in chosen]


@pytest.fixture(scope="module")
def readings(truth: list[Attributes]) -> list[Reading]:
    rng = np.random.default_rng(7)
    return [judge(clip) for clip in render([sample_scene(rng, attributes) for attributes in truth])]


def agreement(readings: Iterable[Reading], truth: Iterable[Attributes], field: str) -> float:
    pairs = list(zip(readings, truth, strict=True))
    return sum(getattr(reading, field) == getattr(attributes, field) for reading, attributes in pairs) / len(pairs)


@pytest.mark.parametrize("field", FIELDS)
def test_reads_rendered_clips(readings: list[Reading], truth: list[Attributes], field: str) -> None:
    assert agreement(readings, truth, field) >= 0.995


@pytest.mark.parametrize("field", FIELDS)
def test_shuffled_captions_agree_at_chance(readings: list[Reading], truth: list[Attributes], field: str) -> None:
    order = np.random.default_rng(3).permutation(len(truth))
    chance = 1 / NUM_CHOICES[field]
    spread = 4 * (chance * (1 - chance) / len(truth)) ** 0.5
    assert agreement(readings, [truth[index] for index in order], field) == pytest.approx(chance, abs=spread)


def test_clean_clips_have_clear_outlines(readings: list[Reading]) -> None:
    assert min(reading.outline for reading in readings) > 0.9


def clip_of(attributes: Attributes, *, seed: int = 0) -> NDArray[np.uint8]:
    return render([sample_scene(np.random.default_rng(seed), attributes)])[0]


RED_SQUARE = Attributes(colour="red", shape="square", motion="left", background="navy")


def test_reversed_clip_moves_the_other_way() -> None:
    assert judge(clip_of(RED_SQUARE)[::-1]).motion == "right"


def test_transposed_clip_moves_along_the_other_axis() -> None:
    assert judge(clip_of(RED_SQUARE).swapaxes(1, 2)).motion == "up"


def test_survives_noise_and_compression_like_error() -> None:
    noise = np.random.default_rng(1).normal(0, 8, (17, 64, 64, 3))
    noisy = np.clip(clip_of(RED_SQUARE) + noise, 0, 255).astype(np.uint8)
    reading = judge(noisy)
    assert {field: getattr(reading, field) for field in FIELDS} == {
        field: getattr(RED_SQUARE, field) for field in FIELDS
    }


def test_empty_scene_shows_no_shape() -> None:
    reading = judge(np.full((17, 64, 64, 3), 12, np.uint8))
    assert (reading.colour, reading.shape, reading.motion, reading.background) == (None, None, None, "black")


def test_second_shape_lowers_the_outline() -> None:
    still = Attributes(colour="red", shape="square", motion="still", background="navy")
    both = np.maximum(clip_of(still, seed=0), clip_of(still, seed=4))
    assert judge(both).outline < 0.7 < judge(clip_of(still)).outline


@pytest.mark.parametrize("bad", [np.zeros((17, 64, 64, 3)), np.zeros((64, 64, 3), np.uint8)])
def test_refuses_what_is_no_clip(bad: NDArray[np.uint8]) -> None:
    with pytest.raises(ValueError, match="expected uint8 frames"):
        judge(bad)
