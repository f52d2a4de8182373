"""Of a model with two experts, a pool loads the one it renders with."""

from __future__ import annotations

from pathlib import Path

import pytest
from two_experts import write_two_experts

import wan_model
from wan_model.errors import LayoutError


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_two_experts(tmp_path_factory.mktemp("models") / "two")


@pytest.mark.parametrize(
    ("experts", "has_high", "has_low"), [("all", True, True), ("high", True, False), ("low", False, True)]
)
def test_the_other_expert_is_left_out(folder: Path, experts: str, has_high: bool, has_low: bool) -> None:
    pipeline = wan_model.load(folder, components=("dit",), experts=experts)
    assert (pipeline.dit is not None, pipeline.low_dit is not None) == (has_high, has_low)


def test_a_model_of_one_expert_has_none_to_leave_out() -> None:
    with pytest.raises(LayoutError, match="no second expert"):
        wan_model.load("nano", components=("dit",), experts="low")
