"""A run is paused, resumed and cancelled while it renders, by commands beside its driver."""

from __future__ import annotations

import json
import signal
import subprocess
from typing import Any

import pytest
from e2e_farm import SMALL, Farm, children_of, finish, has_workers, wait_until

STEPS = 20
NUM_CLIPS = 5
CLIP_S = 10.0


def write_slow_clips(farm: Farm) -> None:
    """Each takes many times as long as its step, so that a clip in work has to be put down."""
    prompt = f"a red circle fake:slow={CLIP_S}"
    rows = [{"id": f"c{n}", "prompt": prompt, "seed": n, **SMALL} for n in range(NUM_CLIPS)]
    farm.write([row | {"num_inference_steps": STEPS} for row in rows])


def files_of_state(farm: Farm, suffix: str) -> set[str]:
    return {name for name in farm.storage.names("state") if name.endswith(suffix)}


def await_state(farm: Farm, driver: subprocess.Popen[str]) -> None:
    """Return when a clip in work has come past a step."""

    def is_kept() -> bool:
        if driver.poll() is not None:
            raise AssertionError(f"the command ended with {driver.returncode}: {finish(driver)[1]}")
        return bool(files_of_state(farm, ".safetensors"))

    wait_until(is_kept, timeout_s=240, what="a clip in work")


def status_of(farm: Farm, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    capsys.readouterr()
    assert farm.call("status", farm.out, "--json") == 0
    (run,) = json.loads(capsys.readouterr().out)["runs"]
    return dict(run)


@pytest.mark.timeout(900)
def test_pause_then_resume_then_cancel(farm: Farm, capsys: pytest.CaptureFixture[str]) -> None:
    farm.environment["WANFARM_CHECKPOINT_STEPS"] = "1"
    write_slow_clips(farm)
    first = farm.start_render()
    await_state(farm, first)
    assert status_of(farm, capsys)["state"] == "running"

    assert farm.call("pause", farm.out) == 0
    wait_until(lambda: not has_workers(first), timeout_s=180, what="the end of Ray Data's workers")
    run = status_of(farm, capsys)
    assert (run["state"], run["stop"]["action"], run["done"] < NUM_CLIPS) == ("paused", "pause", True)
    assert run["driver"] is not None
    kept, done = files_of_state(farm, ".safetensors"), farm.committed()
    assert kept

    first.send_signal(signal.SIGTERM)  # while it waits
    code, said = finish(first, timeout_s=120)
    assert code == 75, said
    assert "clips in work are put down at their next step" in said
    assert "waiting for: wanfarm resume" in said

    second = farm.start_render()
    wait_until(lambda: status_of(farm, capsys)["driver"] is not None, timeout_s=120, what="the second driver")
    assert children_of(second) == []  # Ray is not started for a run that is paused
    assert (files_of_state(farm, ".safetensors"), farm.committed()) == (kept, done)
    assert farm.call("resume", farm.out) == 0
    farm.await_clips(len(done) + 1, second)

    assert farm.call("cancel", farm.out) == 0
    code, said = finish(second, timeout_s=240)
    assert code == 1, said
    assert "resumed" in said
    assert "computed twice" not in said
    statuses = [line["status"] for line in farm.results()]
    assert set(statuses) == {"committed", "cancelled"}
    records = farm.records().values()
    assert len(records) == statuses.count("committed")
    # What was put down went on from there, and that cost no clip an attempt.
    assert any(record["resumed_at"] for record in records)
    assert {(record["lost_steps"], record["attempts"]) for record in records} == {(0, 1)}
    assert status_of(farm, capsys)["state"] == "cancelled"

    manifest = str(farm.manifest)
    assert farm.call("render", manifest, "--out", farm.out, "--model", farm.model) == 2
    said = capsys.readouterr().err
    assert "cancelled by" in said
    assert "wanfarm resume" in said


def test_a_run_that_nobody_drives_is_cancelled_by_the_command(farm: Farm, capsys: pytest.CaptureFixture[str]) -> None:
    write_slow_clips(farm)
    driver = farm.start_render()
    wait_until(
        lambda: any(name.endswith("run.json") for name in farm.storage.names("runs")), timeout_s=120, what="a run"
    )
    driver.kill()
    driver.wait(timeout=30)
    assert farm.call("cancel", farm.out) == 0
    assert "cancelled by" in capsys.readouterr().out
    assert [line["status"] for line in farm.results()] == ["cancelled"] * NUM_CLIPS
    assert any(name.endswith("report.html") for name in farm.storage.names("runs"))
