"""Two experts: where the schedule changes hands, and how gangs are dealt out between their pools."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest
from gang_orders import spec_of
from two_experts import write_two_experts

from farm.experts import PoolSizes, StepSplit, handover_step, pool_sizes, split_of
from farm.models.folder import read_dims
from wan_model.sampling.schedule import schedule
from wan_model.weights.checkpoint import open_checkpoint


@pytest.mark.parametrize(("profile", "solver"), [*itertools.product(("official", "diffusers"), ("unipc", "euler"))])
def test_the_handover_is_the_models(profile: str, solver: str) -> None:
    for steps, shift, boundary in itertools.product(
        (*range(1, 14), 40, 50), (0.5, 1.0, 3.0, 5.0, 12.0), (0.0, 0.5, 0.875, 0.9, 0.999, 1.0)
    ):
        spec = spec_of(profile=profile, solver=solver, num_inference_steps=steps, shift=shift)
        grid = schedule(profile, num_inference_steps=steps, shift=shift, solver=solver)  # type: ignore[arg-type]
        assert handover_step(spec, boundary) == grid.high_noise_steps(boundary), (steps, shift, boundary)


def test_the_splits_of_a14b() -> None:
    text = spec_of(num_inference_steps=40, shift=12.0, solver="unipc")
    image = spec_of(num_inference_steps=40, shift=5.0, solver="unipc")
    assert split_of(text, 0.875) == StepSplit(high=26, low=14)
    assert split_of(image, 0.9) == StepSplit(high=15, low=25)
    assert split_of(text, None) == StepSplit()


@pytest.mark.parametrize(
    ("split", "num_gangs", "sizes"),
    [
        ((26, 14), 8, (5, 3)),
        ((15, 25), 8, (3, 5)),
        ((26, 14), 2, (1, 1)),
        ((26, 14), 3, (2, 1)),
        ((26, 14), 40, (26, 14)),
        ((39, 1), 8, (7, 1)),
        ((1, 39), 8, (1, 7)),
        ((40, 0), 4, (3, 1)),  # somebody has to decode
        ((0, 40), 4, (0, 4)),
    ],
)
def test_pools_follow_the_steps(split: tuple[int, int], num_gangs: int, sizes: tuple[int, int]) -> None:
    found = pool_sizes(StepSplit(high=split[0], low=split[1]), num_gangs)
    assert found == PoolSizes(high=sizes[0], low=sizes[1])
    assert found.high + found.low == num_gangs


def test_a_folders_boundary_is_read_as_the_model_reads_it(tmp_path: Path) -> None:
    folder = write_two_experts(tmp_path / "two")
    index = json.loads((folder / "model_index.json").read_text())
    defaults = json.loads((folder / "sampling_defaults.json").read_text())
    for ratio, own in ((0.7, 0.6), (None, 0.6), (None, None)):
        (folder / "model_index.json").write_text(json.dumps(index | {"boundary_ratio": ratio}))
        (folder / "sampling_defaults.json").write_text(json.dumps(defaults | {"boundary": own}))
        assert read_dims(folder).boundary == open_checkpoint(folder).config.defaults.boundary
