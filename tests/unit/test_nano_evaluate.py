"""The evaluation: half of its prompts are unseen combinations, and its table counts rightly."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from PIL import Image

from wan_model.nano.captions import mentioned
from wan_model.nano.evaluate import Outcome, accuracy, confusion, contact_sheet, evaluate, make_cases, report
from wan_model.nano.world import Attributes, is_held_out, render, sample_scene


@dataclass
class Drawer:
    """Stands in for a pipeline: draws what the prompt says, after `change`."""

    change: Callable[[dict[str, str]], dict[str, str]]

    def __call__(self, prompt: str, *, image: Image.Image | None, seed: int) -> Any:
        attributes = Attributes(**self.change(mentioned(prompt)))
        frames = render([sample_scene(np.random.default_rng(seed), attributes)])[0]
        if image is not None:
            frames[0] = np.asarray(image)
        return type("Clip", (), {"frames": frames})


def outcomes_of(change: Callable[[dict[str, str]], dict[str, str]], *, has_image: bool = False) -> list[Outcome]:
    return list(evaluate(Drawer(change), make_cases(24, has_image=has_image)))  # type: ignore[arg-type]


def test_half_of_the_cases_are_held_out_and_all_differ() -> None:
    cases = make_cases(100)
    assert [case.is_held_out for case in cases] == [is_held_out(case.attributes) for case in cases]
    assert sum(case.is_held_out for case in cases) == 50
    assert len({case.attributes for case in cases}) == 100
    assert make_cases(100) == cases


def test_a_perfect_model_scores_everything() -> None:
    outcomes = outcomes_of(dict)
    assert all(accuracy(outcomes, field) == 1 for field in ("colour", "shape", "motion", "background"))
    assert "mistaken" not in report(outcomes)


def test_one_fault_is_counted_and_named() -> None:
    outcomes = outcomes_of(lambda said: said | {"motion": "left" if said["motion"] == "right" else said["motion"]})
    asked = sum(outcome.case.attributes.motion == "right" for outcome in outcomes)
    assert asked > 0
    assert confusion(outcomes, "motion") == {("right", "left"): asked}
    assert accuracy(outcomes, "motion") == pytest.approx(1 - asked / 24)
    assert f"motion mistaken: right for left {asked}" in report(outcomes)


def test_a_kept_first_frame_is_measured() -> None:
    outcomes = outcomes_of(dict, has_image=True)
    assert min(outcome.first_frame_psnr or 0 for outcome in outcomes) > 90
    assert "dB from the image" in report(outcomes)


def test_the_contact_sheet_has_a_row_per_clip() -> None:
    sheet = contact_sheet([outcome.frames for outcome in outcomes_of(dict)[:3]], num_columns=5, scale=1)
    assert sheet.size == (5 * 64, 3 * 64)
