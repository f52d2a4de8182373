"""The weights in the package: their size, their dimensions, and that clips show what prompts say."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import wan_model
from wan_model.nano.captions import mentioned
from wan_model.nano.config import NANO
from wan_model.nano.evaluate import FIELDS, accuracy, evaluate, make_cases
from wan_model.nano.judge import judge
from wan_model.nano.tokenizer import build_tokenizer
from wan_model.opening import EMBEDDED

FOLDER = EMBEDDED["nano"]
MAX_SIZE_BYTES = 25_000_000


@pytest.fixture(scope="module")
def nano() -> wan_model.WanPipeline:
    torch.set_num_threads(1)
    return wan_model.load("nano")


def test_the_folder_stays_small() -> None:
    assert sum(file.stat().st_size for file in FOLDER.rglob("*") if file.is_file()) < MAX_SIZE_BYTES


def test_the_weights_are_those_of_the_table() -> None:
    checkpoint = wan_model.inspect("nano")
    assert checkpoint.config == NANO
    assert {weights.dtype for weights in checkpoint.components.values()} == {"float16"}


def test_the_tokenizer_is_the_one_that_the_code_builds(nano: wan_model.WanPipeline) -> None:
    assert nano.text is not None
    built = build_tokenizer(text_len=NANO.text.text_len)
    assert nano.text.tokenizer.get_vocab() == built.get_vocab()
    assert nano.text.tokenizer("A red dragon, rising.").input_ids == built("A red dragon, rising.").input_ids


def test_clips_show_what_prompts_say(nano: wan_model.WanPipeline) -> None:
    """A sample of `python -m jobs.train_nano evaluate`; the figures of the whole are in docs/nano.md."""
    outcomes = list(evaluate(nano, make_cases(12, seed=1)))
    right = {field: accuracy(outcomes, field) for field in FIELDS}
    assert all(share >= 10 / 12 for share in right.values()), right
    assert float(np.median([outcome.reading.outline for outcome in outcomes])) > 0.75


def test_a_first_frame_is_kept_and_moves_as_told(nano: wan_model.WanPipeline) -> None:
    outcomes = list(evaluate(nano, make_cases(6, has_image=True, seed=2)))
    assert min(outcome.first_frame_psnr or 0 for outcome in outcomes) > 22
    assert accuracy(outcomes, "motion") >= 5 / 6


def test_words_that_are_not_known_do_no_harm(nano: wan_model.WanPipeline) -> None:
    prompt = "A cinematic 4k video of a green square moving left on a black background, please"
    reading = judge(nano(prompt, seed=5).frames)
    assert {field: getattr(reading, field) for field in mentioned(prompt)} == mentioned(prompt)


def test_a_seed_is_a_clip(nano: wan_model.WanPipeline) -> None:
    prompt = "a red circle moving right on a navy background"
    first, again, other = (nano(prompt, seed=seed, num_inference_steps=8).frames for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
