"""Batch runs make room while online jobs wait for devices, and go on when none does."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import cast

import pytest

from deployments.config import AppConfig
from deployments.served import ServedModel, served_models
from deployments.sharing import RunsMakeRoom
from farm.control import give_command, standing_stop
from farm.ledger import RunLease
from farm.queue.backlog import Backlog, ModelBacklog, Pause
from farm.queue.dispatch import Dispatcher
from farm.settings import Settings
from farm.storage import Storage, open_storage

CONFIG = AppConfig.parse(
    {
        "out": "/data",
        "models": [{"model": "nano", "scaling": {"min_replicas": 0, "max_replicas": 2, "target_backlog_s": 10}}],
        "sharing": {"policy": "online_first", "patience_s": 20, "resume_after_s": 30},
    }
)


class Leader:
    """A dispatcher with a queue that is set."""

    def __init__(self) -> None:
        self.num_queued = self.num_busy = self.num_renderers = 0
        self.pause: Pause | None = None

    def backlog(self) -> Backlog:
        queue = ModelBacklog(
            model="nano",
            num_queued=self.num_queued,
            num_running=self.num_busy,
            num_renderers=self.num_renderers,
            num_busy=self.num_busy,
            seconds=10.0 * (self.num_queued + self.num_busy),
            device_seconds=0.0,
            wait_s=0.0,
            clips_per_minute=0.0,
        )
        return Backlog(models={"nano": queue}, projects={}, keys={}, renderers=(), pause=self.pause)


class Scene:
    """An output with one driven run and one that ended, a queue and a clock."""

    def __init__(self, storage: Storage, models: list[ServedModel]) -> None:
        self.storage = storage
        self.leader = Leader()
        self.now_s = 0.0
        self.chore = RunsMakeRoom(storage, CONFIG.sharing, models, clock=lambda: self.now_s)
        self.models = models

    def go_on(self, seconds: float) -> None:
        for _ in range(int(seconds)):
            self.now_s += 1
            self.chore(cast(Dispatcher, self.leader))

    def stopped(self) -> list[str]:
        return [run_id for run_id in ("driven", "ended", "other") if standing_stop(self.storage, run_id) is not None]


@pytest.fixture
def scene() -> Iterator[Scene]:
    storage = open_storage(f"memory://{uuid.uuid4().hex}")
    RunLease(storage, "ended").acquire()
    storage.replace("runs/ended/lease/00000001.end", b"")
    with RunLease(storage, "driven"):
        yield Scene(storage, served_models(CONFIG, Settings()))


def test_runs_are_paused_when_gangs_have_found_no_room_for_a_while(scene: Scene) -> None:
    scene.leader.num_queued = 5
    scene.go_on(19)
    assert scene.stopped() == []

    scene.go_on(3)

    assert scene.stopped() == ["driven"]


def test_they_go_on_when_nothing_has_waited_for_a_while(scene: Scene) -> None:
    scene.leader.num_queued = 5
    scene.go_on(25)
    scene.leader.num_queued, scene.leader.num_renderers, scene.leader.num_busy = 0, 2, 2
    scene.go_on(60)
    assert scene.stopped() == ["driven"]  # clips are in work

    scene.leader.num_busy = 0
    scene.go_on(29)
    assert scene.stopped() == ["driven"]
    scene.go_on(3)

    assert scene.stopped() == []


def test_enough_gangs_leave_runs_alone(scene: Scene) -> None:
    scene.leader.num_queued, scene.leader.num_renderers = 50, 2  # as many as there may be

    scene.go_on(100)

    assert scene.stopped() == []


def test_a_paused_queue_takes_no_room(scene: Scene) -> None:
    scene.leader.num_queued, scene.leader.pause = 50, Pause(by="me@here", at="now")

    scene.go_on(100)

    assert scene.stopped() == []


def test_what_a_person_has_stopped_stays_so(scene: Scene) -> None:
    give_command(scene.storage, "driven", "pause", by="me@here")

    scene.go_on(100)

    assert scene.stopped() == ["driven"]


def test_the_next_leader_resumes_what_an_earlier_one_paused(scene: Scene) -> None:
    scene.leader.num_queued = 5
    scene.go_on(25)
    scene.leader.num_queued = 0

    after = Scene(scene.storage, scene.models)
    after.go_on(35)

    assert scene.stopped() == []
