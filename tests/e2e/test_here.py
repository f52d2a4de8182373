"""Clips made by the command and its children, without Ray: poison that fails by class, and old clips made again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from e2e_farm import SMALL, Farm

from farm import ledger
from farm.models import chosen_model
from farm.normalise import normalise
from farm.parallelism import ParallelPlan
from farm.provenance import Record
from farm.request import RowRequest
from farm.settings import Settings
from farm.spec import RenderOptions
from farm.workers.renderer import Outcome
from jobs.here import Bench


@pytest.fixture(autouse=True)
def _known_models(farm: Farm) -> None:
    """A clip that no run made leaves nothing but its model's name to find the weights by."""
    farm.environment["WANFARM_MODELS"] = str(Path(farm.model).parent)


def rendered(farm: Farm, prompt: str, *, parallel: ParallelPlan | None = None, **more: Any) -> Outcome:
    """What became of one clip, made here."""
    settings = Settings.from_env(farm.environment)
    request = RowRequest(prompt=prompt, **{**SMALL, **more})
    spec = normalise(request, chosen_model(farm.model, settings), options=RenderOptions(), seed=0, image=None)
    bench = Bench(farm.storage, settings, spec=spec, model_path=farm.model, threads=1, parallel=parallel)
    with bench.renderer() as renderer:
        return renderer.render(bench.job(spec, run_id="0123456789abcdef"))


def record_of(farm: Farm, outcome: Outcome) -> Record:
    record = ledger.read_record(farm.storage, outcome.clip_id)
    assert record is not None
    return record


@pytest.mark.parametrize(
    ("prompt", "error_class", "attempts"),
    [
        ("fake:die", "RankLostError", 3),
        ("fake:oom", "MemoryExhaustedError", 2),
        ("fake:nan", "NotFiniteError", 2),
        ("fake:bug", "ZeroDivisionError", 3),
    ],
)
def test_poison_fails_by_class_and_its_command_shows_it(
    farm: Farm, capsys: pytest.CaptureFixture[str], prompt: str, error_class: str, attempts: int
) -> None:
    outcome = rendered(farm, prompt)
    assert outcome.error_class == error_class
    letter = ledger.read_failure(farm.storage, outcome.clip_id)
    assert letter is not None
    assert (letter.error_class, letter.attempts) == (error_class, attempts)
    capsys.readouterr()
    assert farm.call(*letter.command.split()[1:]) == 1
    said = capsys.readouterr().out
    assert f"clip {outcome.clip_id} failed: {error_class}" in said
    assert "Traceback" in said


def test_a_gangs_poison_is_shown_by_as_many_ranks(farm: Farm, capsys: pytest.CaptureFixture[str]) -> None:
    outcome = rendered(farm, "fake:die-decode-rank=1", parallel=ParallelPlan(ulysses_degree=2))
    assert outcome.error_class == "RankLostError"
    letter = ledger.read_failure(farm.storage, outcome.clip_id)
    assert letter is not None
    assert farm.call(*letter.command.split()[1:]) == 1
    assert "rank 1" in capsys.readouterr().out
    assert farm.call("retry", farm.out, "--clip", outcome.clip_id, "--here", "--ulysses-degree", "1") == 0


@pytest.mark.parametrize(
    ("prompt", "parallel", "execution"),
    [
        ("a cat", None, {"degree": 1, "tiling": None}),
        ("a cat", ParallelPlan(ulysses_degree=2), {"degree": 2, "parallel": "ulysses=2 cfg=1"}),
        ("fake:oom-decode-whole", ParallelPlan(cfg_degree=2), {"degree": 1, "tiling": "rows/4"}),
    ],
)
def test_old_clips_are_made_again_as_they_were(
    farm: Farm,
    capsys: pytest.CaptureFixture[str],
    prompt: str,
    parallel: ParallelPlan | None,
    execution: Mapping[str, Any],
) -> None:
    outcome = rendered(farm, prompt, parallel=parallel)
    assert outcome.status == "committed"
    recorded = record_of(farm, outcome).execution.model_dump()
    assert {name: recorded[name] for name in execution} == execution
    capsys.readouterr()
    assert farm.call("verify", farm.out, "--rerender", "1", "--json") == 0
    (again,) = json.loads(capsys.readouterr().out)["rerendered"]
    assert (again["is_same_execution"], again["is_same_bytes"]) == (True, True)


def test_more_ranks_than_this_machine_has_devices_are_one(farm: Farm, capsys: pytest.CaptureFixture[str]) -> None:
    outcome = rendered(farm, "a cat")
    record = record_of(farm, outcome)
    wide = record.execution.model_copy(update={"degree": 4096, "parallel": "ulysses=4096 cfg=1"})
    path = f"clips/{record.clip_id[:2]}/{record.clip_id}.json"
    farm.storage.replace(path, record.model_copy(update={"execution": wide}).to_json())
    assert farm.call("verify", farm.out, "--rerender", "1", "--json") == 0
    (again,) = json.loads(capsys.readouterr().out)["rerendered"]
    assert (again["is_same_execution"], again["is_same_bytes"]) == (False, True)
