"""Text states against those of diffusers' `encode_prompt`, for the same folder."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers import WanPipeline

import wan_model
from wan_model.text.encoder import TextEncoder
from wan_model.text.prompt import clean_prompt

PROMPTS = (
    "a red circle",
    "  two cats &amp;amp; one\n\n dog â€™ in   the RAIN ",
    "色调艳丽，过曝，静态",
    "",
    "an elephant beside the old harbour " * 200,
)


@pytest.fixture(scope="module")
def encoder(t2v_folder: Path) -> TextEncoder:
    text = wan_model.load(t2v_folder, components=("text",)).text
    assert text is not None
    return text


def theirs(folder: Path, dtype: torch.dtype) -> list[torch.Tensor]:
    """Padded to 512 tokens, all prompts together."""
    pipeline = WanPipeline.from_pretrained(folder)
    pipeline.text_encoder.to(dtype)
    states, _ = pipeline.encode_prompt(
        list(PROMPTS), do_classifier_free_guidance=False, max_sequence_length=512, dtype=dtype
    )
    return list(states)


def test_states_of_each_prompt(t2v_folder: Path) -> None:
    """In double precision: how fp32 rounds depends on a matrix product's shape (theirs are padded) and on the CPU."""
    text = wan_model.load(t2v_folder, components=("text",)).text
    assert text is not None
    text.model.double()
    for padded, ours in zip(theirs(t2v_folder, torch.float64), text.encode(PROMPTS), strict=True):
        assert padded[: ours.num_tokens].std() > 0.1
        torch.testing.assert_close(ours.states_TD, padded[: ours.num_tokens], atol=1e-12, rtol=0)
        assert not padded[ours.num_tokens :].any(), "the rows left out are padding"


def test_states_in_fp32_are_as_near_as_theirs(t2v_folder: Path, encoder: TextEncoder) -> None:
    exact, single = theirs(t2v_folder, torch.float64), theirs(t2v_folder, torch.float32)
    for truth, padded, ours in zip(exact, single, encoder.encode(PROMPTS), strict=True):
        their_error = (padded - truth).abs().max()
        our_error = (ours.states_TD - truth[: ours.num_tokens]).abs().max()
        assert our_error < 2 * their_error + 1e-6
        assert our_error < 1e-5 * truth.abs().max() + 1e-6


def test_states_do_not_depend_on_the_company(encoder: TextEncoder) -> None:
    together = encoder.encode([*PROMPTS, PROMPTS[1]])
    alone = [encoder.encode([prompt])[0] for prompt in (*PROMPTS, PROMPTS[1])]
    assert all(torch.equal(a.states_TD, b.states_TD) for a, b in zip(together, alone, strict=True))


def test_a_long_prompt_is_cut_and_its_length_told(encoder: TextEncoder) -> None:
    assert encoder.num_tokens(PROMPTS[4]) > 512
    assert encoder.encode([PROMPTS[4]])[0].num_tokens == 512
    assert encoder.num_tokens("") == 1, "the end token"


def test_bf16_stays_near_fp32(t2v_folder: Path, encoder: TextEncoder) -> None:
    half = wan_model.load(t2v_folder, components=("text",), dtype="bfloat16").text
    assert half is not None
    states = half.encode(PROMPTS[:1])[0].states_TD
    assert states.dtype == torch.bfloat16
    torch.testing.assert_close(states.float(), encoder.encode(PROMPTS[:1])[0].states_TD, atol=0.15, rtol=0)


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("  a \t b\n\nc ", "a b c"),
        ("cats &amp;amp; dogs", "cats & dogs"),
        ("&lt;b&gt;", "<b>"),
        ("itâ€™s", "it's"),
        ("ｆｕｌｌ", "full"),
    ],
)
def test_cleaning(raw: str, clean: str) -> None:
    assert clean_prompt(raw) == clean
