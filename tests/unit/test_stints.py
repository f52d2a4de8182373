"""When each stage of a clip was, as its record has it: of clips that go well, break, go on, and change gangs."""

from __future__ import annotations

import json
import time
import uuid
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from example_renders import NUM_STEPS, job_of, record_of, renderer_of
from gang_orders import PLAN
from scripted_engine import ScriptedEngine

from farm.errors import HangError, RankLostError
from farm.ledger import read_attempts
from farm.provenance import StageTime, Stint
from farm.storage import MemoryStorage, Storage
from farm.workers.engine import ModelPlan
from farm.workers.outcomes import outcome_of, outcome_row, spent_on


@pytest.fixture
def out() -> Storage:
    return MemoryStorage(uuid.uuid4().hex)


def names_of(stint: Stint) -> list[str]:
    return [stage.name for stage in stint.stages]


def test_stages_add_up_to_the_timings(out: Storage, tmp_path: Path) -> None:
    before_s = time.time()
    renderer_of(out, tmp_path, ScriptedEngine({5: lambda: time.sleep(0.05)})).render(job_of())
    record = record_of(out)
    (stint,) = record.stints
    assert stint.worker == record.worker
    assert before_s - 0.001 <= datetime.fromisoformat(stint.begun_at).timestamp() <= time.time()
    assert set(names_of(stint)) == {"input", "denoise", "encode", "decode"}
    for stage in stint.stages:
        assert stage.seconds == pytest.approx(record.timings[stage.name], abs=1e-3)
        assert stage.begun_s >= 0
    denoise = next(stage for stage in stint.stages if stage.name == "denoise")
    assert denoise.step is None
    assert denoise.seconds >= 0.05


def test_each_try_has_its_stages(out: Storage, tmp_path: Path) -> None:
    engine = ScriptedEngine({6: RankLostError("gone")}, {"decode": HangError("hung")})
    assert renderer_of(out, tmp_path, engine).render(job_of()).status == "committed"
    record = record_of(out)
    (stint,) = record.stints
    stages = sorted(stint.stages, key=lambda stage: stage.begun_s)
    assert [(stage.name, stage.step) for stage in stages if stage.name == "denoise"] == [
        ("denoise", None),
        ("denoise", 4),
    ]
    assert names_of(stint).count("decode") == 2
    assert names_of(stint).count("input") == 3
    assert record.resumed_at == (4, NUM_STEPS)
    last = [stage for stage in stages if stage.name == "decode"][-1]
    assert last.seconds == pytest.approx(record.timings["decode"], abs=1e-3)


def test_the_gang_that_handed_a_clip_over_comes_first(out: Storage, tmp_path: Path) -> None:
    plans = [ModelPlan(**PLAN, experts=experts, boundary=0.9) for experts in ("high", "low")]
    high, low = (renderer_of(out, tmp_path, ScriptedEngine(plan=plan), handover=plan.handover) for plan in plans)
    advanced = high.render(job_of())
    assert advanced.stint is not None
    assert names_of(advanced.stint) == ["input", "denoise"]
    travelled = outcome_of(json.loads(json.dumps(outcome_row(advanced))))
    assert travelled == advanced
    low.render(replace(job_of(), spent=spent_on(travelled)))
    first, second = record_of(out).stints
    assert first == advanced.stint
    assert second.stages[1].name == "denoise"
    assert second.stages[1].step is not None


def test_a_noted_attempt_says_when(out: Storage, tmp_path: Path) -> None:
    renderer_of(out, tmp_path, ScriptedEngine(*[{6: ZeroDivisionError("bug")}] * 9)).render(job_of())
    times = [datetime.fromisoformat(str(attempt.at)) for attempt in read_attempts(out, job_of().spec.clip_id)]
    assert len(times) == 3
    assert times == sorted(times)
    assert times[-1] <= datetime.now(UTC)


def test_a_stage_of_a_newer_release_is_read() -> None:
    assert StageTime.model_validate({"name": "x", "begun_s": 0, "seconds": 1, "more": 2}).seconds == 1
