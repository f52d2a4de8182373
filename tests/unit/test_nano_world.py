"""The made-up world: determinism, the held-out rule, shapes inside the picture, captions that say what is shown."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pytest

from wan_model.nano.captions import MOTION_PHRASES, caption, mentioned, training_caption, vocabulary
from wan_model.nano.tokenizer import UNKNOWN, build_tokenizer
from wan_model.nano.world import (
    BACKGROUNDS,
    COLOURS,
    MOTIONS,
    SHAPES,
    Attributes,
    combinations,
    held_out_combinations,
    is_held_out,
    palette,
    render,
    sample_scene,
    sample_scenes,
    seen_combinations,
    signed_distance,
)

GREEN_CROSS = Attributes(colour="green", shape="cross", motion="down", background="black")


def test_a_seed_is_a_clip() -> None:
    first, again, other = (render(sample_scenes(np.random.default_rng(seed), 3)) for seed in (5, 5, 6))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_a_tenth_is_held_out_for_good() -> None:
    assert len(combinations()) == len(COLOURS) * len(SHAPES) * len(MOTIONS) * len(BACKGROUNDS)
    assert 0.08 < len(held_out_combinations()) / len(combinations()) < 0.12
    assert set(seen_combinations()) | set(held_out_combinations()) == set(combinations())
    # A change of the rule would let training see what an evaluation calls unseen.
    assert is_held_out(held_out_combinations()[0])
    assert asdict(held_out_combinations()[0]) == {
        "colour": "red",
        "shape": "circle",
        "motion": "up",
        "background": "navy",
    }


def test_training_draws_no_held_out_combination() -> None:
    drawn = {scene.attributes for scene in sample_scenes(np.random.default_rng(0), 2000)}
    assert drawn.isdisjoint(held_out_combinations())


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("motion", MOTIONS)
def test_shapes_stay_inside_the_picture(shape: str, motion: str) -> None:
    attributes = Attributes(colour="white", shape=shape, motion=motion, background="black")
    rng = np.random.default_rng(2)
    clips = render([sample_scene(rng, attributes) for _ in range(20)])
    for edge in (clips[:, :, 0], clips[:, :, -1], clips[:, :, :, 0], clips[:, :, :, -1]):
        assert edge.max() == 12


def test_a_shorter_clip_is_the_beginning_of_a_longer_one() -> None:
    scene = sample_scene(np.random.default_rng(1), GREEN_CROSS)
    assert np.array_equal(render([scene], num_frames=9), render([scene])[:, :9])


def test_size_and_colours_are_given() -> None:
    scene = sample_scene(np.random.default_rng(1), GREEN_CROSS)
    clip = render([scene], num_frames=1, height=32, width=48, colours=np.full((1, 2, 3), 77, np.float32))
    assert clip.shape == (1, 1, 32, 48, 3)
    assert np.all(clip == 77)
    assert palette([scene]).tolist() == [[list(COLOURS["green"]), list(BACKGROUNDS["black"])]]


def test_unknown_shape_is_refused_by_name() -> None:
    zero = np.zeros((1, 1), np.float32)
    with pytest.raises(ValueError, match=r"unknown shape 'heart'.*circle"):
        signed_distance("heart", zero, zero, zero)


def test_captions_say_what_is_shown() -> None:
    rng = np.random.default_rng(0)
    for attributes in combinations():
        assert mentioned(caption(rng, attributes)) == asdict(attributes)


@pytest.mark.parametrize(
    ("motion", "phrase"), [(m, phrase) for m, phrases in MOTION_PHRASES.items() for phrase in phrases]
)
def test_every_motion_phrase_is_read_back(motion: str, phrase: str) -> None:
    assert mentioned(f"A red square {phrase}, on a black background")["motion"] == motion


def test_what_a_prompt_leaves_out_is_not_mentioned() -> None:
    assert mentioned("a blue circle") == {"colour": "blue", "shape": "circle"}


def test_training_captions_never_contradict_the_clip() -> None:
    rng = np.random.default_rng(0)
    said = [mentioned(training_caption(rng, GREEN_CROSS)) for _ in range(300)]
    assert all(fields.items() <= asdict(GREEN_CROSS).items() for fields in said)
    assert any(len(fields) < 4 for fields in said)


def test_the_tokenizer_knows_every_word_of_a_caption() -> None:
    rng = np.random.default_rng(0)
    tokenizer = build_tokenizer(text_len=512)
    for attributes in combinations():
        assert tokenizer.unk_token_id not in tokenizer(caption(rng, attributes)).input_ids
    assert len(tokenizer) == len(vocabulary()) + 3


def test_the_tokenizer_lowers_splits_marks_and_ends() -> None:
    tokenizer = build_tokenizer(text_len=512)
    tokens = tokenizer.convert_ids_to_tokens(tokenizer("A Red zebra, moving left.").input_ids)
    assert tokens == ["a", "red", UNKNOWN, ",", "moving", "left", ".", "</s>"]
    assert tokenizer("").input_ids == [tokenizer.eos_token_id]
