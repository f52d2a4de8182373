"""Watching a run: what ends it, with which exit code, what is said on the way, and that it outlives a lost storage."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from example_clips import make_spec
from example_run import RUN, admitted, commit_clip, fail_clip, write_plan

from farm.control import give_command
from farm.errors import StorageUnavailableError
from farm.ledger import RunLease
from farm.results import write_results
from farm.run_facts import RunCard, write_card
from farm.settings import Settings
from farm.storage import LocalStorage
from jobs import watch as watch_module
from jobs.calls import FailureBudget
from jobs.cli import run
from jobs.progress import Lines
from jobs.submissions import FarmJob
from jobs.watch import AWAY_S, BEGIN_S, SETTLE_S, Sight, Watch, WatchCall, code_of

NUM_CLIPS = 3
SPECS = [make_spec(prompt=f"a ball, number {seed}", seed=seed) for seed in range(NUM_CLIPS)]
Step = Callable[[], object]


@dataclass
class Story:
    """A run in a folder, and what happens to it between two looks; each step is taken once, then time passes."""

    out: LocalStorage
    folder: Path
    steps: list[Step] = field(default_factory=list)
    jobs: list[FarmJob] | None = None
    stream: io.StringIO = field(default_factory=io.StringIO)
    now_s: float = 0.0

    def plan(self) -> None:
        write_plan(self.out, [admitted(row, spec) for row, spec in enumerate(SPECS)], [])
        facts = dict.fromkeys(("manifest_uri", "manifest_sha256", "model_name", "model_path", "model_fingerprint"), "x")
        numbers = {"num_rows": NUM_CLIPS, "num_rejected": 0, "num_clips": NUM_CLIPS}
        write_card(self.out, RunCard.model_validate({"run_id": RUN, **facts, **numbers}))

    def commit(self, *which: int) -> None:
        for number in which:
            commit_clip(self.out, SPECS[number], self.folder)

    def jobs_of(self, run_id: str) -> Sequence[FarmJob]:
        return self.jobs or []

    def set_job(self, status: str, exit_code: int | None = None) -> None:
        name = f"farm-{RUN}-1"
        self.jobs = [
            FarmJob(name=name, status=status, is_unfinished=status in ("PENDING", "RUNNING"), exit_code=exit_code)
        ]

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds
        if self.steps:
            self.steps.pop(0)()

    def follow(self) -> Sight:
        jobs: Any = None if self.jobs is None else self
        watch = Watch(self.out, RUN, jobs=jobs, clock=lambda: self.now_s, sleep=self.sleep)
        return watch.follow(Lines(self.stream))

    def code(self, sight: Sight, max_failed: str = "0") -> int:
        return code_of(self.out, sight, FailureBudget.parse(max_failed))

    @property
    def said(self) -> list[str]:
        return self.stream.getvalue().splitlines()


@pytest.fixture
def story(tmp_path: Path) -> Story:
    return Story(LocalStorage(tmp_path / "out"), tmp_path)


def test_a_run_from_before_its_beginning_to_its_end(story: Story) -> None:
    lease = RunLease(story.out, RUN)
    story.steps = [lease.acquire, story.plan, lambda: story.commit(0), lambda: story.commit(1, 2), lease.release]
    sight = story.follow()
    assert not story.steps
    assert story.code(sight) == 0
    assert [line.split(";")[0] for line in story.said if "done" not in line] == ["not begun yet", "running", "ended"]
    assert story.said[-2].startswith("3/3 done, 0 failed")


def test_failures_count_against_the_budget(story: Story) -> None:
    story.plan()
    story.commit(0, 1)
    fail_clip(story.out, SPECS[2])
    write_results(story.out, RUN)
    sight = story.follow()
    assert (story.code(sight), story.code(sight, "1"), story.code(sight, "33%")) == (1, 0, 1)


def test_a_lost_driver_is_75_after_a_while(story: Story) -> None:
    story.plan()
    story.commit(0)
    assert story.code(story.follow()) == 75
    assert SETTLE_S < story.now_s < 2 * SETTLE_S


def test_another_driver_in_time_goes_on(story: Story) -> None:
    story.plan()
    lease = RunLease(story.out, RUN)

    def take_over() -> None:
        story.now_s += SETTLE_S - 10
        lease.acquire()

    def finish() -> None:
        story.now_s += 10 * SETTLE_S
        story.commit(0, 1, 2)

    story.steps = [take_over, finish, lease.release]
    assert story.code(story.follow()) == 0


def test_a_run_that_nobody_begins_is_75_in_the_end(story: Story) -> None:
    assert story.code(story.follow()) == 75
    assert story.now_s > BEGIN_S


def test_a_cancelled_run_ends_when_its_driver_has(story: Story) -> None:
    lease = RunLease(story.out, RUN)
    lease.acquire()
    story.plan()
    story.commit(0)
    story.steps = [lambda: give_command(story.out, RUN, "cancel", by="ann@here"), lambda: None, lease.release]
    sight = story.follow()
    assert not story.steps
    assert story.code(sight, "100%") == 1
    assert any(line.startswith("cancelled by ann@here") for line in story.said)


def test_a_pause_is_waited_for(story: Story) -> None:
    story.plan()
    with RunLease(story.out, RUN) as lease:
        give_command(story.out, RUN, "pause", by="ann@here")

        def wait() -> None:
            story.now_s += 10 * SETTLE_S

        story.steps = [
            wait,
            lambda: give_command(story.out, RUN, "resume", by="ann@here"),
            lambda: story.commit(0, 1, 2),
            lease.release,
        ]
        assert story.code(story.follow()) == 0


@pytest.mark.parametrize(("status", "exit_code"), [("SUCCEEDED", 0), ("FAILED", 1), ("FAILED", 75), ("FAILED", 2)])
def test_the_jobs_driver_tells_its_code(story: Story, status: str, exit_code: int) -> None:
    story.plan()
    if exit_code in (0, 1):  # of failures within --max-failed only the driver knew
        story.commit(0, 1)
        fail_clip(story.out, SPECS[2])
    story.set_job("PENDING")
    story.steps = [lambda: story.set_job("RUNNING"), lambda: story.set_job(status, exit_code)]
    assert story.code(story.follow()) == exit_code
    assert not story.steps
    assert f"{status}, exit code {exit_code} (" in story.said[-1]


def test_a_job_is_waited_for_however_long_it_stands_in_line(story: Story) -> None:
    story.set_job("PENDING")

    def wait() -> None:
        story.now_s += 10 * BEGIN_S

    story.steps = [wait, wait, lambda: story.set_job("FAILED", 2)]
    assert story.code(story.follow()) == 2


@pytest.mark.parametrize("status", ["STOPPED", "FAILED"])
def test_a_job_without_a_code_leaves_the_word_to_the_storage(story: Story, status: str) -> None:
    story.plan()
    story.set_job(status)
    assert story.code(story.follow()) == 75
    story.commit(0, 1, 2)
    assert story.code(story.follow()) == 0
    assert story.now_s == 0  # an ended job is not waited for


def test_a_job_is_not_believed_about_what_came_after_it(story: Story) -> None:
    story.plan()
    story.set_job("FAILED", 75)
    story.commit(0, 1, 2)
    assert story.code(story.follow()) == 0


def test_a_storage_that_is_away_is_looked_at_again(story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    story.plan()
    story.commit(0, 1, 2)
    read, away = watch_module.read_progress, [True, True, False]

    def read_sometimes(*arguments: Any, **options: Any) -> Any:
        if away.pop(0):
            raise StorageUnavailableError("list", "s3://b", "timed out")
        return read(*arguments, **options)

    monkeypatch.setattr(watch_module, "read_progress", read_sometimes)
    assert story.code(story.follow()) == 0
    assert story.said[0] == "cannot list s3://b: timed out; looking again"
    assert not away
    away += [True] * 1000
    with pytest.raises(StorageUnavailableError):
        story.follow()
    assert story.now_s > AWAY_S


def test_the_command_reports(story: Story, capsys: pytest.CaptureFixture[str]) -> None:
    story.plan()
    story.commit(0, 1, 2)
    write_results(story.out, RUN)
    assert run(["watch", story.out.uri, "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["run_id"], facts["state"], facts["done"], facts["exit_code"]) == (RUN, "ended", NUM_CLIPS, 0)
    assert run(["watch", story.out.uri, "--run", RUN]) == 0
    assert f"run {RUN}: ended; 3/3 done, 0 failed" in capsys.readouterr().out


def test_ctrl_c_leaves_the_run_alone(
    story: Story, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    story.plan()
    monkeypatch.setattr(Watch, "follow", interrupt)
    assert run(["watch", story.out.uri]) == 130
    assert "detached; the run goes on" in capsys.readouterr().out


def test_of_several_runs_the_driven_one_is_watched(story: Story, capsys: pytest.CaptureFixture[str]) -> None:
    story.plan()
    story.commit(0, 1, 2)
    card = RunCard.model_validate_json(story.out.read(f"runs/{RUN}/run.json"))
    write_card(story.out, card.model_copy(update={"run_id": "f" * 16}))
    assert run(["watch", story.out.uri]) == 2
    assert "2 runs, say --run ID" in capsys.readouterr().err
    with RunLease(story.out, RUN):
        call = WatchCall(out=story.out.uri, run_id=None, address=None, max_failed=FailureBudget())
        assert watch_module._chosen(call, Settings())[1] == RUN
