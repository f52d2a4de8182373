"""Kills at random moments until a run is complete; after each, what is committed stays as it is and whole.

CHAOS_S is how long to go on making faults (default 300), CHAOS_SEED repeats a sequence.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from e2e_farm import Farm, children_of, driver_of, finish, kill_driver, kill_ray, stamps, stamps_of

NUM_CLIPS = 60
INTERRUPTED = 75
KILLED = -signal.SIGKILL

Process = subprocess.Popen[str]


def kill_worker(process: Process) -> None:
    """One render or encode actor; the driver goes on."""
    workers = [child for child in children_of(process) if child.name().startswith("ray::MapWorker")]
    if workers:
        random.choice(workers).kill()


def away_for_longer_than_the_lease(process: Process) -> None:
    """The driver is stopped, and comes back when its run may belong to another."""
    driver = driver_of(process)
    driver.suspend()
    time.sleep(20)
    driver.resume()


# What is done to a driver, and the exit codes that it may end with; None for one that goes on.
FAULTS: dict[str, tuple[Callable[[Process], None], set[int]]] = {
    "command": (kill_driver, {KILLED}),
    "driver": (lambda process: driver_of(process).kill(), {INTERRUPTED}),
    "all of ray": (kill_ray, {INTERRUPTED}),
    "gcs": (lambda process: kill_ray(process, only="gcs_server"), {INTERRUPTED}),
    "raylet": (lambda process: kill_ray(process, only="raylet"), {INTERRUPTED}),
    "SIGTERM": (lambda process: process.send_signal(signal.SIGTERM), {INTERRUPTED}),
    "Ctrl-C": (lambda process: os.killpg(process.pid, signal.SIGINT), {INTERRUPTED}),
    "worker": (kill_worker, {0}),
    "away": (away_for_longer_than_the_lease, {0, INTERRUPTED}),
}


@pytest.mark.chaos
@pytest.mark.timeout(3600)
def test_random_faults(farm: Farm) -> None:
    seed = int(os.environ.get("CHAOS_SEED", random.randrange(10**6)))
    random.seed(seed)
    print(f"CHAOS_SEED={seed}")
    end_s = time.monotonic() + float(os.environ.get("CHAOS_S", "300"))
    farm.write_clips(NUM_CLIPS, slow_s=1.0)
    while time.monotonic() < end_s and len(farm.committed()) < NUM_CLIPS:
        before = stamps_of(farm.committed(), farm.out)
        name = random.choice(list(FAULTS))
        code, said = hurt(farm, name)
        print(f"{name}: exit {code}, {len(farm.committed())} clips")
        assert code in FAULTS[name][1] | {0}, said
        assert_untouched_and_whole(farm, before)
    before = stamps_of(farm.committed(), farm.out)
    code, said = farm.render()
    assert code == 0, said
    assert_untouched_and_whole(farm, before)
    assert len(farm.committed()) == NUM_CLIPS
    assert [line["row"] for line in farm.results()] == list(range(NUM_CLIPS))
    assert len(list((Path(farm.out) / "clips").rglob("*.mp4"))) == NUM_CLIPS


@pytest.mark.chaos
@pytest.mark.timeout(600)
def test_a_driver_that_was_away_yields_to_the_next(farm: Farm) -> None:
    farm.write_clips(30, slow_s=1.0)
    first = farm.start_render()
    farm.await_clips(2, first)
    ours = [driver_of(first), *children_of(first)]
    for process in ours:
        process.suspend()
    time.sleep(16)
    second = farm.start_render()
    farm.await_clips(len(farm.committed()) + 2, second)
    for process in ours:
        process.resume()
    code, said = finish(first)
    assert code == INTERRUPTED, said
    code, said = finish(second)
    assert code == 0, said
    assert len(farm.committed()) == 30
    assert len(list((Path(farm.out) / "clips").rglob("*.mp4"))) == 30


def hurt(farm: Farm, name: str) -> tuple[int, str]:
    """Start the render, do something to it at a random moment, and see how it ends."""
    process = farm.start_render()
    moment_s = time.monotonic() + random.uniform(0.5, 40)
    while time.monotonic() < moment_s and process.poll() is None:
        time.sleep(0.05)
    if process.poll() is None:
        FAULTS[name][0](process)
    return finish(process)


def assert_untouched_and_whole(farm: Farm, before: dict[str, tuple[int, bytes]]) -> None:
    """Earlier clips as they were; every file under a final name complete."""
    after = stamps(farm.out)
    assert {path: after.get(path) for path in before} == before
    for path, (_, data) in after.items():
        if path.endswith(".mp4"):
            assert hashlib.sha256(data).hexdigest().startswith(Path(path).stem.split("-")[1])
        elif path.endswith(".json"):
            assert json.loads(data)["clip_id"] == Path(path).stem
