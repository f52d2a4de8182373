"""Leaders that are killed in the middle of a clip, and what their successors make of the notes they leave."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from example_renders import EVERY_TWO, SPEC, job_of, record_of, undisturbed
from scripted_engine import Script, ScriptedEngine

from farm import ledger
from farm.metrics import NoMeter
from farm.provenance import Worker
from farm.settings import Settings
from farm.storage import LocalStorage
from farm.workers.renderer import MAX_ATTEMPTS, Outcome, Renderer
from farm.workers.workbench import Workbench, bench_root


@pytest.fixture(autouse=True)
def _temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))


@pytest.fixture
def out(tmp_path: Path) -> LocalStorage:
    return LocalStorage(tmp_path / "out")


def renderer_of(out: LocalStorage, engine: ScriptedEngine, *, driver: int, node: str) -> Renderer:
    return Renderer(
        lambda: engine,
        out,
        settings=Settings(),
        worker=Worker(host="here", pid=os.getpid()),
        bench=Workbench(bench_root(out.uri, "run", epoch=driver), node=node),
        meter=NoMeter(),
        policy=EVERY_TWO,
    )


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def killed(
    out: LocalStorage, script: Script, *, driver: int = 1, node: str = "one", is_uploading: bool = False
) -> bool:
    """Whether another process died of the script, or of its upload."""
    child = os.fork()
    if child == 0:
        if is_uploading:
            out.put_file = lambda path, local: die()  # type: ignore[method-assign]
        renderer_of(out, ScriptedEngine(script), driver=driver, node=node).render(job_of())
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


def rendered(out: LocalStorage, *, driver: int = 1, node: str = "one") -> Outcome:
    return renderer_of(out, ScriptedEngine(), driver=driver, node=node).render(job_of())


def test_a_death_after_a_new_state_costs_steps_and_no_attempt(out: LocalStorage, tmp_path: Path) -> None:
    assert killed(out, {6: die})
    outcome = rendered(out)
    assert (outcome.status, outcome.lost_steps, outcome.num_resumes) == ("committed", 1, 1)
    record = record_of(out)
    assert (record.attempts, record.resumed_at, record.lost_steps) == (1, (4,), 1)
    assert record.video == undisturbed(tmp_path).video


def test_a_death_without_a_new_state_is_an_attempt(out: LocalStorage) -> None:
    assert killed(out, {2: die})
    assert rendered(out).lost_steps == 1
    assert record_of(out).attempts == 2


def test_a_clip_that_always_kills_its_leader_is_given_up(out: LocalStorage) -> None:
    deaths = 0
    while killed(out, {6: die}):
        deaths += 1
    assert deaths == 1 + MAX_ATTEMPTS  # the first time it had come further than before
    letter = ledger.read_failure(out, SPEC.clip_id)
    assert letter is not None
    assert (letter.error_class, letter.attempts) == ("LeaderLostError", MAX_ATTEMPTS)


@pytest.mark.parametrize(("driver", "node"), [(2, "one"), (1, "two")], ids=["driver", "node"])
def test_the_death_of_a_driver_or_a_node_costs_steps_and_no_attempt(out: LocalStorage, driver: int, node: str) -> None:
    assert killed(out, {2: die})
    assert rendered(out, driver=driver, node=node).lost_steps == 1
    record = record_of(out)
    assert (record.attempts, record.lost_steps) == (1, 1)


def test_a_kill_while_publishing_costs_no_step(out: LocalStorage, tmp_path: Path) -> None:
    assert killed(out, {}, is_uploading=True)
    assert rendered(out).lost_steps == 0
    assert record_of(out).video == undisturbed(tmp_path).video
