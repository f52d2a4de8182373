"""The rule and the policy that decide how many gangs there are."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from ray import cloudpickle

from deployments import autoscale
from deployments.autoscale import BacklogPolicy, gangs_wanted


@pytest.mark.parametrize(
    ("backlog_s", "num_open", "num_busy", "expected"),
    [
        (0.0, 0, 0, 0),
        (0.0, 1, 0, 1),  # nothing is known of how long it takes, but it waits
        (59.0, 3, 0, 1),
        (61.0, 3, 0, 2),
        (600.0, 30, 4, 10),
        (10.0, 4, 4, 4),  # nearly done, but all four are at it
    ],
)
def test_gangs_follow_the_backlog_and_cover_what_runs(
    backlog_s: float, num_open: int, num_busy: int, expected: int
) -> None:
    wanted = gangs_wanted(
        backlog_s=backlog_s, num_open=num_open, num_busy=num_busy, target_backlog_s=60.0, is_paused=False
    )

    assert wanted == expected


def test_a_paused_queue_needs_only_the_gangs_that_are_at_a_clip() -> None:
    assert gangs_wanted(backlog_s=600.0, num_open=30, num_busy=2, target_backlog_s=60.0, is_paused=True) == 2


@dataclass(frozen=True)
class Deployment:
    name: str


@dataclass(frozen=True)
class Point:
    timestamp: float
    value: float


@dataclass
class Context:
    target_num_replicas: int = 1
    raw_metrics: dict[str, dict[str, list[Point]]] = field(default_factory=dict)


DISPATCHER, RENDERER = Deployment("dispatcher"), Deployment("renderer-nano")


def contexts(*points: Point, target: int = 3) -> dict[Deployment, Context]:
    metrics = {"gangs:renderer-nano": {"replica": list(points)}, "other": {"replica": [Point(99.0, 99.0)]}}
    return {DISPATCHER: Context(raw_metrics=metrics if points else {}), RENDERER: Context(target_num_replicas=target)}


def test_the_dispatchers_newest_word_counts() -> None:
    decisions, state = BacklogPolicy()(contexts(Point(1.0, 7.0), Point(2.0, 5.0)))

    assert decisions == {DISPATCHER: 1, RENDERER: 5}
    assert state == {}


def test_without_a_word_the_number_stays() -> None:
    assert BacklogPolicy()(contexts())[0] == {DISPATCHER: 1, RENDERER: 3}


def test_an_old_word_does_not_count_until_a_new_one_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(autoscale.time, "monotonic", lambda: now[0])
    policy = BacklogPolicy(stale_s=10.0)

    assert policy(contexts(Point(1.0, 0.0)))[0][RENDERER] == 0
    now[0] += 9.0
    assert policy(contexts(Point(1.0, 0.0)))[0][RENDERER] == 0
    now[0] += 2.0
    assert policy(contexts(Point(1.0, 0.0)))[0][RENDERER] == 3
    assert policy(contexts(Point(1.0, 0.0), Point(2.0, 4.0)))[0][RENDERER] == 4


def test_it_travels_by_value_without_the_farm() -> None:
    """Serve's controller may run where the farm is not installed."""
    cloudpickle.register_pickle_by_value(autoscale)
    try:
        carried = cloudpickle.dumps(BacklogPolicy)
    finally:
        cloudpickle.unregister_pickle_by_value(autoscale)

    assert b"farm" not in carried
    policy: Any = cloudpickle.loads(carried)
    assert policy()(contexts(Point(1.0, 2.0)))[0][RENDERER] == 2
