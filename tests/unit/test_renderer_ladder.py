"""What a renderer does when a clip's render breaks: every rung of the ladder, with an engine that breaks by script."""

from __future__ import annotations

import time
import uuid
from pathlib import Path

import pytest
from example_clips import make_spec
from example_renders import NUM_STEPS, SPEC, job_of, record_of, renderer_of, undisturbed
from scripted_engine import Script, ScriptedEngine, plan_of

from farm import ledger
from farm.errors import (
    FarmError,
    GangStartError,
    HangError,
    InputError,
    MemoryExhaustedError,
    NotFiniteError,
    RankLostError,
    StorageError,
)
from farm.layout import state_path
from farm.ledger import Attempt
from farm.metrics import LOST_STEPS, NoMeter, Series
from farm.parallelism import ParallelPlan
from farm.provenance import comparable
from farm.storage import MemoryStorage, Storage
from farm.workers.engine import CheckpointPolicy
from farm.workers.renderer import MAX_ATTEMPTS


class LostSteps(NoMeter):
    """A meter of one series."""

    def __init__(self) -> None:
        self.num = 0.0

    def record(self, series: Series, value: float = 1.0, **labels: str) -> None:
        self.num += value if series is LOST_STEPS else 0


@pytest.fixture
def out() -> Storage:
    return MemoryStorage(uuid.uuid4().hex)


def test_a_lost_rank_costs_the_steps_since_the_last_state(out: Storage, tmp_path: Path) -> None:
    engine, meter = ScriptedEngine({6: RankLostError("rank 1 was killed")}), LostSteps()
    outcome = renderer_of(out, tmp_path, engine, meter=meter).render(job_of())
    assert (outcome.status, outcome.lost_steps, outcome.num_resumes) == ("committed", 1, 1)
    assert (engine.begun_at, engine.num_rebuilds, meter.num) == ([0, 4], 1, 1)
    record = record_of(out)
    assert (record.attempts, record.resumed_at, record.lost_steps) == (1, (4,), 1)
    assert record.video == undisturbed(tmp_path).video
    assert comparable(record) == comparable(undisturbed(tmp_path))


def test_faults_with_progress_between_them_never_count(out: Storage, tmp_path: Path) -> None:
    engine = ScriptedEngine(*({step: RankLostError("gone")} for step in (4, 6, 8, 10)), {"decode": HangError("hung")})
    assert renderer_of(out, tmp_path, engine).render(job_of()).status == "committed"
    assert engine.begun_at == [0, 2, 4, 6, 8, 10]
    record = record_of(out)
    assert (record.attempts, record.lost_steps) == (1, 4)
    assert record.video == undisturbed(tmp_path).video


@pytest.mark.parametrize("error", [RankLostError("killed by SIGKILL"), HangError("silent"), ZeroDivisionError("bug")])
def test_a_clip_that_breaks_at_the_same_place_is_given_up(out: Storage, tmp_path: Path, error: Exception) -> None:
    error.add_note("In the rank:\nTraceback of another process")
    engine = ScriptedEngine(*[{6: error}] * 9)
    outcome = renderer_of(out, tmp_path, engine).render(job_of())
    assert (outcome.status, outcome.error_class) == ("failed", type(error).__name__)
    # The first fault came after a new state, which later ones did not.
    assert engine.begun_at == [0] + [4] * MAX_ATTEMPTS
    letter = ledger.read_failure(out, SPEC.clip_id)
    assert letter is not None
    assert (letter.error_class, letter.message, letter.attempts) == (type(error).__name__, str(error), MAX_ATTEMPTS)
    assert "Traceback of another process" in letter.traceback
    assert letter.command == f"wanfarm retry {out.uri} --clip {SPEC.clip_id} --here"
    assert not [name for name in out.names("state") if name.endswith(".safetensors")]
    assert outcome.lost_steps == MAX_ATTEMPTS


def test_without_a_state_every_fault_counts(out: Storage, tmp_path: Path) -> None:
    errors = [RankLostError("gone"), RankLostError("gone"), HangError("silent")]
    engine = ScriptedEngine(*({1: error} for error in errors))
    assert renderer_of(out, tmp_path, engine).render(job_of()).error_class == "HangError"
    assert [attempt.error_class for attempt in ledger.read_attempts(out, SPEC.clip_id)] == [
        "RankLostError",
        "RankLostError",
        "HangError",
    ]


def test_the_engine_is_whole_again_for_the_next_clip(out: Storage, tmp_path: Path) -> None:
    engine = ScriptedEngine(*[{1: RankLostError("gone")}] * MAX_ATTEMPTS)
    renderer, other = renderer_of(out, tmp_path, engine), make_spec(seed=2, num_frames=5)
    assert [outcome.status for outcome in renderer.render_all([job_of(), job_of(other)])] == ["failed", "committed"]
    assert engine.num_rebuilds == MAX_ATTEMPTS


def test_bad_input_is_the_end_at_once(out: Storage, tmp_path: Path) -> None:
    engine = ScriptedEngine({1: InputError("no such size")})
    assert renderer_of(out, tmp_path, engine).render(job_of()).error_class == "InputError"
    assert (len(engine.orders), ledger.count_attempts(out, SPEC.clip_id)) == (1, 0)


def test_nan_is_tried_once_more_tame_and_from_the_start(out: Storage, tmp_path: Path) -> None:
    engine = ScriptedEngine({6: NotFiniteError("NaN")})
    outcome = renderer_of(out, tmp_path, engine).render(job_of())
    assert (outcome.status, outcome.lost_steps) == ("committed", 5)
    assert ([order.is_tame for order in engine.orders], engine.begun_at) == ([False, True], [0, 0])
    record = record_of(out)
    assert (record.attempts, record.execution.tiling) == (2, "rows/4")


def test_memory_that_runs_out_while_decoding_goes_on_tame_from_the_state(out: Storage, tmp_path: Path) -> None:
    engine = ScriptedEngine({"decode": MemoryExhaustedError("full")})
    assert renderer_of(out, tmp_path, engine).render(job_of()).lost_steps == 0
    assert ([order.is_tame for order in engine.orders], engine.begun_at) == ([False, True], [0, NUM_STEPS])
    assert record_of(out).execution.tiling == "rows/4"


def test_a_tame_retry_alone_cannot_go_on_from_a_gangs_state(out: Storage, tmp_path: Path) -> None:
    plan = plan_of(parallel=ParallelPlan(ulysses_degree=2))
    engine = ScriptedEngine({"decode": MemoryExhaustedError("full")}, plan=plan)
    assert renderer_of(out, tmp_path, engine).render(job_of()).lost_steps == NUM_STEPS
    assert engine.begun_at == [0, 0]
    record = record_of(out)
    assert (record.execution.degree, record.attempts) == (1, 2)
    assert record.discarded == ("the state after step 10 could not be gone on from: its denoising differ",)


@pytest.mark.parametrize("error", [NotFiniteError("NaN"), MemoryExhaustedError("full")])
def test_a_tame_retry_that_fails_too_is_the_end(out: Storage, tmp_path: Path, error: FarmError) -> None:
    engine = ScriptedEngine({3: error}, {5: error})
    assert renderer_of(out, tmp_path, engine).render(job_of()).error_class == type(error).__name__
    letter = ledger.read_failure(out, SPEC.clip_id)
    assert letter is not None
    assert (letter.attempts, len(engine.orders)) == (2, 2)


def test_a_rank_lost_in_a_tame_retry_leaves_it_tame(out: Storage, tmp_path: Path) -> None:
    engine = ScriptedEngine({3: NotFiniteError("NaN")}, {6: RankLostError("gone")})
    assert renderer_of(out, tmp_path, engine).render(job_of()).status == "committed"
    assert ([order.is_tame for order in engine.orders], engine.begun_at) == ([False, True, True], [0, 0, 4])


def test_attempts_outlive_their_worker(out: Storage, tmp_path: Path) -> None:
    for error_class in ("RankLostError", "NotFiniteError"):
        attempt = Attempt(error_class=error_class, reason="said so", trace="Traceback", worker="there:1")
        ledger.note_attempt(out, SPEC.clip_id, attempt)
    engine = ScriptedEngine({1: RankLostError("gone")})
    outcome = renderer_of(out, tmp_path, engine).render(job_of())
    assert (outcome.status, engine.orders[0].is_tame) == ("failed", True)
    again = ScriptedEngine()
    outcome = renderer_of(out, tmp_path, again).render(job_of())
    assert (outcome.error_class, outcome.message, again.orders) == ("RankLostError", "gone", [])


def test_a_gang_that_does_not_come_up_again_costs_the_clip_nothing(out: Storage, tmp_path: Path) -> None:
    engine = ScriptedEngine({6: RankLostError("gone")}, on_rebuild=GangStartError("no memory to start"))
    with pytest.raises(GangStartError):
        renderer_of(out, tmp_path, engine).render(job_of())
    assert ledger.count_attempts(out, SPEC.clip_id) == 0
    outcome = renderer_of(out, tmp_path, other := ScriptedEngine()).render(job_of())
    assert (outcome.status, other.begun_at, outcome.lost_steps) == ("committed", [4], 1)
    assert record_of(out).video == undisturbed(tmp_path).video


def test_a_clip_that_is_put_down_goes_on_where_it_was(out: Storage, tmp_path: Path) -> None:
    asked = iter([False] + [False] * 6 + [True])  # before the clip, and after each step
    stopping = renderer_of(out, tmp_path, ScriptedEngine(), policy=CheckpointPolicy(), should_stop=lambda: next(asked))
    assert stopping.render(job_of()).status == "skipped"
    engine = ScriptedEngine()
    outcome = renderer_of(out, tmp_path, engine).render(job_of())
    assert (outcome.status, engine.begun_at, outcome.lost_steps, outcome.num_resumes) == ("committed", [7], 0, 1)
    assert record_of(out).attempts == 1
    assert record_of(out).video == undisturbed(tmp_path).video


def test_who_is_taken_over_stops(out: Storage, tmp_path: Path) -> None:
    def take_over() -> None:
        while not out.exists(state_path(SPEC.clip_id, epoch=1, step=4)):
            time.sleep(0.01)
        ledger.begin_clip(out, SPEC.clip_id, worker="there:2")

    engine = ScriptedEngine({5: take_over})
    outcome = renderer_of(out, tmp_path, engine).render(job_of())
    # It finds out with the state that is due after step 6.
    assert (outcome.status, outcome.lost_steps) == ("lost", 2)
    assert (ledger.committed_ids(out), ledger.count_attempts(out, SPEC.clip_id)) == (set(), 0)
    assert renderer_of(out, tmp_path, engine).render(job_of()).status == "committed"
    assert engine.begun_at == [0, 4]


def test_who_is_taken_over_while_decoding_commits_nothing(out: Storage, tmp_path: Path) -> None:
    script: Script = {"decode": lambda: ledger.begin_clip(out, SPEC.clip_id, worker="there:2")}
    assert renderer_of(out, tmp_path, ScriptedEngine(script)).render(job_of()).status == "lost"
    assert list(out.names("clips")) == []


def test_a_state_that_cannot_be_kept_is_the_storages_fault(
    out: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = out.create

    def full(path: str, data: bytes) -> None:
        if path.endswith("-00004.safetensors"):
            raise StorageError("create", path, "no space left")
        create(path, data)

    monkeypatch.setattr(out, "create", full)
    with pytest.raises(StorageError, match="no space left"):
        renderer_of(out, tmp_path, ScriptedEngine()).render(job_of())
    assert ledger.count_attempts(out, SPEC.clip_id) == 0
    monkeypatch.setattr(out, "create", create)
    outcome = renderer_of(out, tmp_path, engine := ScriptedEngine()).render(job_of())
    assert (outcome.status, engine.begun_at) == ("committed", [2])
    assert 2 <= outcome.lost_steps <= 4


@pytest.mark.parametrize("kind", ["other threads", "torn"])
def test_a_state_that_does_not_fit_is_discarded(out: Storage, tmp_path: Path, kind: str) -> None:
    before = ScriptedEngine({6: GangStartError("stop here")}, plan=plan_of(threads=2))
    with pytest.raises(GangStartError):
        renderer_of(out, tmp_path, before).render(job_of())
    (path,) = [name for name in out.names("state") if name.endswith(".safetensors")]
    if kind == "torn":
        out.replace(path, out.read(path)[:-1])
    engine = ScriptedEngine()
    assert renderer_of(out, tmp_path, engine).render(job_of()).lost_steps == 5
    assert engine.begun_at == [0]
    record = record_of(out)
    assert record.video == undisturbed(tmp_path).video
    assert len(record.discarded) == 1
    assert comparable(record) == comparable(undisturbed(tmp_path))
