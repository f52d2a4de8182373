"""Killed, stopped and doubled drivers: each clip is there exactly once, and none that had a record is made again."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import psutil
import pytest
from e2e_farm import (
    Farm,
    children_of,
    driver_of,
    finish,
    has_workers,
    kill_driver,
    kill_ray,
    stamps_of,
    wait_until,
)

NUM_CLIPS = 14
AGENTS = ("ray::DashboardA", "ray::RuntimeEnv")  # as the kernel cuts their names


def assert_complete(farm: Farm, before: dict[str, tuple[int, bytes]]) -> None:
    """Each clip once, each row once, and the files of earlier clips untouched."""
    videos = [path.name[:32] for path in (Path(farm.out) / "clips").rglob("*.mp4")]
    assert sorted(videos) == sorted(farm.committed())
    assert len(videos) == NUM_CLIPS
    lines = farm.results()
    assert [line["row"] for line in lines] == list(range(NUM_CLIPS))
    assert {line["status"] for line in lines} == {"committed"}
    assert {line["clip_id"] for line in lines} == farm.committed()
    after = stamps_of({Path(path).name[:32] for path in before}, farm.out)
    assert after == before


@pytest.mark.timeout(400)
def test_killed_driver(farm: Farm) -> None:
    farm.write_clips(NUM_CLIPS, slow_s=0.6)
    first = farm.start_render()
    farm.await_clips(3, first)
    below = {child: child.name() for child in children_of(first)}
    kill_driver(first)
    # Two idle agents wait a minute for the dead cluster's head before they go; the next run ends them.
    working = [child for child, name in below.items() if not name.startswith(AGENTS)]
    wait_until(lambda: not any(map(_lives, working)), timeout_s=30, what="the end of the driver's Ray")
    done = farm.committed()
    before = stamps_of(done, farm.out)
    assert 3 <= len(done) < NUM_CLIPS

    code, said = farm.render()
    assert code == 0, said
    assert f"{len(done)} done" in said
    assert_complete(farm, before)
    assert not any(map(_lives, below))

    begun_s, before = time.monotonic(), stamps_of(farm.committed(), farm.out)
    code, said = farm.render()
    assert code == 0, said
    assert time.monotonic() - begun_s < 5  # without Ray, without torch
    assert "0 to render" in said
    assert_complete(farm, before)


@pytest.mark.timeout(500)
def test_killed_ray_then_signal_then_two_drivers(farm: Farm) -> None:
    farm.write_clips(NUM_CLIPS, slow_s=0.6)
    first = farm.start_render()
    farm.await_clips(2, first)
    kill_ray(first)
    killed_s = time.monotonic()
    code, said = finish(first, timeout_s=60)
    assert code == 75, said
    assert "Ray is gone" in said
    assert time.monotonic() - killed_s < 60
    done = farm.committed()
    before = stamps_of(done, farm.out)

    second = farm.start_render()
    farm.await_clips(len(done) + 2, second)
    os.killpg(second.pid, signal.SIGINT)  # Ctrl-C
    code, said = finish(second, timeout_s=90)
    assert code == 75, said
    assert "SIGINT: clips in work are put down at their next step" in said
    drained = farm.committed()
    assert len(done) < len(drained) < NUM_CLIPS
    assert done <= drained

    third, fourth = farm.start_render(), farm.start_render()
    ends = sorted([finish(third), finish(fourth)], key=lambda end: end[0])
    assert [code for code, _ in ends] == [0, 2], ends
    assert "is being driven by process" in ends[1][1]
    assert_complete(farm, before)


@pytest.mark.timeout(400)
def test_killed_raylet(farm: Farm) -> None:
    """Ray's core may end the driver before that finds out."""
    farm.write_clips(60, slow_s=0.3)
    for _ in range(3):
        lose_raylet(farm)
    done = farm.committed()
    before = stamps_of(done, farm.out)
    code, said = farm.render()
    assert code == 0, said
    assert len(farm.committed()) == 60
    assert stamps_of(done, farm.out) == before


def lose_raylet(farm: Farm) -> None:
    driver = farm.start_render()
    # Before, clips may still come from workers of the last driver: they outlive their raylet by a moment.
    wait_until(lambda: has_workers(driver), timeout_s=120, what="workers")
    farm.await_clips(len(farm.committed()) + 1, driver)
    kill_ray(driver, only="raylet")
    killed_s = time.monotonic()
    code, said = finish(driver, timeout_s=90)
    assert code == 75, said
    assert said.splitlines()[-1].startswith("wanfarm: Ray is gone")
    assert time.monotonic() - killed_s < 60


@pytest.mark.timeout(200)
def test_killed_beneath_its_guard(farm: Farm) -> None:
    farm.write_clips(NUM_CLIPS, slow_s=0.6)
    command = farm.start_render()
    farm.await_clips(2, command)
    driver_of(command).kill()
    code, said = finish(command, timeout_s=30)
    assert code == 75, said
    assert "the driver was ended by SIGKILL; run the same command again" in said
    before = stamps_of(farm.committed(), farm.out)
    code, said = farm.render()
    assert code == 0, said
    assert_complete(farm, before)


def _lives(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
