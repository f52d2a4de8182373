"""A clip through two renderers, one for each expert: handed over by its kept state, whatever happens on the way."""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from gang_orders import PLAN, spec_of
from scripted_engine import ScriptedEngine

from farm import ledger
from farm.errors import MemoryExhaustedError, NotFiniteError, RankLostError
from farm.metrics import NoMeter
from farm.parallelism import ParallelPlan
from farm.provenance import CIRCUMSTANCES, Worker
from farm.sampler_state import read_header
from farm.settings import Settings
from farm.storage import MemoryStorage, Storage
from farm.workers.engine import ClipText, Experts, ModelPlan
from farm.workers.making import ClipJob, Spent
from farm.workers.renderer import Outcome, Renderer
from farm.workers.workbench import Workbench

SPEC = spec_of(num_inference_steps=10, shift=3.0)
BOUNDARY = 0.8  # the first five of the ten steps
JOB = ClipJob(
    spec=SPEC, text=ClipText(positive=b"x", negative=b""), run_id="run", model_name="fake", model_path="/fake"
)


@pytest.fixture
def out() -> Storage:
    return MemoryStorage(uuid.uuid4().hex)


def plan_of(experts: Experts, *, boundary: float = BOUNDARY, **more: Any) -> ModelPlan:
    return ModelPlan(**(PLAN | more), experts=experts, boundary=boundary)


class Pool:
    """A renderer with an engine that keeps its orders."""

    def __init__(self, out: Storage, folder: Path, plan: ModelPlan, *scripts: Any, stop_at: int | None = None) -> None:
        self.engine = ScriptedEngine(*scripts, plan=plan)
        self.num_opened, self.num_asked = 0, 0
        self.stop_at = stop_at
        self._renderer = Renderer(
            self._open,
            out,
            settings=Settings(),
            worker=Worker(host="here", pid=1),
            bench=Workbench(folder / "bench"),
            meter=NoMeter(),
            should_stop=self._should_stop,
            handover=plan.handover,
        )

    def render(self, job: ClipJob = JOB) -> Outcome:
        return self._renderer.render(job)

    def _open(self) -> ScriptedEngine:
        self.num_opened += 1
        return self.engine

    def _should_stop(self) -> bool:
        self.num_asked += 1
        return self.stop_at is not None and self.num_asked > self.stop_at


def pools(out: Storage, folder: Path, *, high: Any = (), low: Any = (), **plan: Any) -> tuple[Pool, Pool]:
    return Pool(out, folder, plan_of("high", **plan), *high), Pool(out, folder, plan_of("low", **plan), *low)


def steps_kept(out: Storage) -> list[int]:
    return [state.step for state in ledger.kept_states(out, SPEC.clip_id)]


def test_a_clip_is_handed_over_and_is_the_same(out: Storage, tmp_path: Path) -> None:
    high, low = pools(out, tmp_path)
    handed = high.render()
    assert (handed.status, handed.error_class, steps_kept(out)) == ("advanced", None, [5])
    spent = Spent(device_seconds=100.0, timings={"denoise": 90.0}, lost_steps=2, num_resumes=1)
    outcome = low.render(replace(JOB, spent=spent))
    assert (outcome.status, outcome.num_resumes, outcome.lost_steps) == ("committed", 1, 2)
    assert outcome.device_seconds > 100
    assert outcome.timings["denoise"] > 90
    assert low.engine.begun_at == [5]
    assert steps_kept(out) == []
    record = ledger.read_record(out, SPEC.clip_id)
    alone = MemoryStorage(uuid.uuid4().hex)
    Pool(alone, tmp_path, plan_of("all")).render()
    expected = ledger.read_record(alone, SPEC.clip_id)
    assert record is not None
    assert expected is not None
    left_out = set(CIRCUMSTANCES)
    assert record.model_dump(exclude=left_out) == expected.model_dump(exclude=left_out)
    assert hashlib.sha256(out.read(record.video.path)).hexdigest() == expected.video.sha256


def test_what_is_past_the_boundary_opens_no_engine(out: Storage, tmp_path: Path) -> None:
    high, _ = pools(out, tmp_path)
    high.render()
    again, low = pools(out, tmp_path)
    assert (again.render().status, again.num_opened) == ("advanced", 0)
    assert (low.render().status, low.render().status) == ("committed", "existing")
    assert again.render().status == "existing"


@pytest.mark.parametrize(("boundary", "begun_at"), [(1.0, 0), (0.0, 10)])
def test_a_schedule_on_one_side_of_the_boundary(out: Storage, tmp_path: Path, boundary: float, begun_at: int) -> None:
    high, low = pools(out, tmp_path, boundary=boundary)
    assert high.render().status == "advanced"
    assert high.num_opened == (begun_at > 0)
    assert low.render().status == "committed"
    assert low.engine.begun_at == [begun_at]


def test_what_was_not_handed_over_is_left_to_the_other_pool(out: Storage, tmp_path: Path) -> None:
    _, low = pools(out, tmp_path)
    assert low.render().status == "skipped"
    assert low.engine.orders == []
    # Of a clip that was put down half way, the state stays.
    stopping = Pool(out, tmp_path, plan_of("high"), stop_at=3)
    assert (stopping.render().status, steps_kept(out)) == ("skipped", [3])
    assert (low.render().status, steps_kept(out)) == ("skipped", [3])
    high, _ = pools(out, tmp_path)
    assert high.render().num_resumes == 1
    assert high.engine.begun_at == [3]
    assert low.render().status == "committed"


def test_a_clip_put_down_past_the_boundary_goes_on_there(out: Storage, tmp_path: Path) -> None:
    high, _ = pools(out, tmp_path)
    high.render()
    assert Pool(out, tmp_path, plan_of("low"), stop_at=3).render().status == "skipped"
    assert steps_kept(out) == [8]
    again, low = pools(out, tmp_path)
    assert (again.render().status, again.num_opened) == ("advanced", 0)
    assert low.render().num_resumes == 1
    assert low.engine.begun_at == [8]


def test_lost_ranks_of_either_pool_are_retried_there(out: Storage, tmp_path: Path) -> None:
    lost = RankLostError("rank 0 is gone")
    high, low = pools(out, tmp_path, high=[{2: lost}], low=[{7: lost}])
    assert high.render().status == "advanced"
    assert high.engine.num_rebuilds == 1
    assert low.render().status == "committed"
    assert low.engine.begun_at == [5, 5]


def test_poison_of_either_half_is_given_up(out: Storage, tmp_path: Path) -> None:
    lost = RankLostError("rank 0 is gone")
    high, low = pools(out, tmp_path, low=[{7: lost}] * 9)
    high.render()
    assert (low.render().error_class, len(low.engine.orders), steps_kept(out)) == ("RankLostError", 3, [])
    other = replace(JOB, spec=spec_of(num_inference_steps=10, seed=2))
    high, _ = pools(out, tmp_path, high=[{2: lost}] * 9)
    assert (high.render(other).status, len(high.engine.orders)) == ("failed", 3)


@pytest.mark.parametrize("error", [NotFiniteError("NaN"), MemoryExhaustedError("full")])
def test_care_past_the_boundary_begins_in_the_first_pool(out: Storage, tmp_path: Path, error: Exception) -> None:
    """Two ranks' clip goes to one rank alone, whose steps are others: the first expert's are made anew, with care."""
    pair = {"parallel": ParallelPlan(ulysses_degree=2)}
    high, low = pools(out, tmp_path, low=[{"decode": error}], **pair)
    high.render()
    assert (low.render().status, steps_kept(out)) == ("skipped", [])
    assert high.render().status == "advanced"
    assert high.engine.orders[-1].is_tame
    assert low.render().status == "committed"
    record = ledger.read_record(out, SPEC.clip_id)
    assert record is not None
    assert (record.execution.degree, record.execution.high_noise) == (1, None)


def test_another_execution_of_the_first_half_is_recorded(out: Storage, tmp_path: Path) -> None:
    Pool(out, tmp_path, plan_of("high", threads=4)).render()
    (state,) = ledger.kept_states(out, SPEC.clip_id)
    digest = read_header(out.read(state.path)).denoising
    # It stays known when the second half, too, is put down and gone on with.
    assert Pool(out, tmp_path, plan_of("low"), stop_at=3).render().status == "skipped"
    low = Pool(out, tmp_path, plan_of("low"))
    assert low.render().status == "committed"
    assert low.engine.begun_at == [8]
    record = ledger.read_record(out, SPEC.clip_id)
    assert record is not None
    assert (record.execution.high_noise, record.execution.threads, record.discarded) == (digest, 1, ())
    # Past the handover, another execution's state is none to go on from.
    other = replace(JOB, spec=spec_of(num_inference_steps=10, seed=2))
    Pool(out, tmp_path, plan_of("high")).render(other)
    Pool(out, tmp_path, plan_of("low"), stop_at=3).render(other)
    assert Pool(out, tmp_path, plan_of("low", threads=4)).render(other).status == "skipped"
