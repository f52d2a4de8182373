"""Online renderers with the scripted engine: what becomes of a job, whatever befalls it, its renderer and its queue."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from example_clips import make_spec
from example_jobs import make_job
from online_farm import eventually
from scripted_engine import Script, ScriptedEngine

from farm import ledger
from farm.errors import (
    GangStartError,
    HangError,
    NotFiniteError,
    QueueAwayError,
    RankLostError,
    StorageUnavailableError,
    TextError,
)
from farm.metrics import NoMeter
from farm.provenance import Worker
from farm.queue.client import Answer, Ending
from farm.queue.dispatch import Dispatcher, ModelLane
from farm.queue.job import Job
from farm.queue.store import JobStore
from farm.settings import Settings
from farm.storage import MemoryStorage
from farm.workers.engine import CheckpointPolicy
from farm.workers.listening import Listener
from farm.workers.online import OnlineModel, OnlineRenderer
from farm.workers.renderer import Renderer
from farm.workers.workbench import Workbench

STEPS = 6


class Text:
    def encode(self, prompt: str) -> bytes:
        return prompt.encode()


class AwayQueue:
    """No dispatcher answers, but for jobs that are handed out by hand."""

    def __init__(self, *jobs: Job) -> None:
        self.jobs = list(jobs)
        self.num_asked = 0

    def take(self, renderer: str, model: str) -> Job | None:
        if self.jobs:
            return self.jobs.pop(0)
        raise QueueAwayError("away")

    def stepped(self, *arguments: Any, **named: Any) -> Answer:
        self.num_asked += 1
        raise QueueAwayError("away")

    def ended(self, renderer: str, job_id: str, ending: Ending) -> None:
        raise QueueAwayError("away")

    def left(self, renderer: str) -> None:
        raise QueueAwayError("away")


class Farm:
    """A store, a dispatcher, and renderers on benches of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.storage = MemoryStorage(uuid.uuid4().hex)
        self.store = JobStore(self.storage)
        self.dispatcher = Dispatcher(self.store, {"nano": ModelLane()})
        self.engines: dict[str, ScriptedEngine] = {}

    def submit(self, **changes: Any) -> Job:
        values = {"spec": make_spec(seed=changes.pop("seed", 0), num_inference_steps=STEPS)} | changes
        job = self.store.submit(make_job(self.store, **values))
        self.dispatcher.submitted(job)
        return job

    def renderer(
        self, *scripts: Script, name: str = "one", queue: Any = None, lease_s: float = 15.0, text: Any = None
    ) -> OnlineRenderer:
        engine = self.engines[name] = ScriptedEngine(*scripts)

        def opened(should_stop: Callable[[], bool], listener: Listener) -> Renderer:
            return Renderer(
                lambda: engine,
                self.storage,
                settings=Settings(),
                worker=Worker(host="here", pid=1),
                bench=Workbench(self.folder / name),
                meter=NoMeter(),
                policy=CheckpointPolicy(every_steps=1),
                should_stop=should_stop,
                listener=listener,
            )

        model = OnlineModel(name="nano", path="/nano", fingerprint="0" * 64, dtype="float32")
        return OnlineRenderer(
            queue or self.dispatcher, self.store, model, text or Text(), opened, name=name, lease_s=lease_s, beat_s=0.02
        )


@pytest.fixture
def farm(tmp_path: Path) -> Farm:
    return Farm(tmp_path)


def test_a_job_is_rendered_and_ended(farm: Farm) -> None:
    job, renderer = farm.submit(), farm.renderer()
    assert renderer.serve_one() == "completed"
    view = farm.store.view(job.id)
    assert (view.state.status, view.state.from_ledger, view.state.attempts) == ("completed", False, 1)
    assert (view.state.step, view.state.num_steps) == (STEPS, STEPS)
    assert view.record is not None
    assert view.state.device_seconds == view.record.device_seconds > 0
    assert farm.store.open_ids() == set()
    assert renderer.serve_one() is None
    assert farm.dispatcher.backlog().models["nano"].num_queued == 0


def test_a_clip_that_is_there_answers_the_next_job(farm: Farm) -> None:
    farm.submit()
    renderer = farm.renderer()
    renderer.serve_one()
    again = farm.submit(project="bob")
    assert renderer.serve_one() == "answered"
    state = farm.store.state(again.id)
    assert (state.status, state.from_ledger, state.device_seconds) == ("completed", True, 0.0)
    assert len(farm.engines["one"].orders) == 1


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (NotFiniteError("nan in /secret/path"), "not_finite"),
        (RankLostError("rank 0 on host-7"), "render_failed"),
        (HangError("stacks"), "render_hangs"),
    ],
)
def test_a_clip_that_is_given_up_fails_its_job(farm: Farm, fault: Exception, code: str) -> None:
    job, renderer = farm.submit(), farm.renderer(*[{1: fault}] * 5)
    assert renderer.serve_one() == "failed"
    state = farm.store.state(job.id)
    assert state.status == "failed"
    assert state.error is not None
    assert state.error.code == code
    assert state.error.advice
    assert str(fault) not in state.error.message


def test_a_prompt_that_cannot_be_encoded_fails_its_job(farm: Farm) -> None:
    class Unreadable:
        def encode(self, prompt: str) -> bytes:
            raise TextError("the prompt cannot be encoded: ValueError: in /secret/path")

    job, renderer = farm.submit(), farm.renderer(text=Unreadable())
    assert renderer.serve_one() == "failed"
    error = farm.store.state(job.id).error
    assert error is not None
    assert (error.code, "secret" in error.message) == ("text_failed", False)
    assert renderer.serve_one() is None


@pytest.mark.parametrize("changes", [{"model": "1" * 64}, {"dtype": "bfloat16"}])
def test_a_job_for_other_weights_is_not_rendered_with_these(farm: Farm, changes: dict[str, str]) -> None:
    job = farm.submit(spec=make_spec(num_inference_steps=STEPS, **changes))
    assert farm.renderer().serve_one() == "failed"
    state = farm.store.state(job.id)
    assert state.error is not None
    assert state.error.code == "model_changed"
    assert farm.engines["one"].orders == []
    assert ledger.read_record(farm.storage, job.clip_id) is None


def test_who_asks_again_gets_new_tries(farm: Farm) -> None:
    farm.submit()
    renderer = farm.renderer(*[{1: RankLostError("gone")}] * 3)
    assert renderer.serve_one() == "failed"
    again = farm.submit()
    assert renderer.serve_one() == "completed"
    assert farm.store.state(again.id).attempts == 1
    assert ledger.read_failure(farm.storage, again.clip_id) is None


def test_a_cancelled_job_stops_within_a_step(farm: Farm) -> None:
    job = farm.submit()
    renderer: OnlineRenderer

    def cancel() -> None:
        farm.store.wish_cancel(job.id, by="ann")
        assert farm.dispatcher.cancel(job.id) == "stopping"
        eventually(renderer._should_stop, timeout_s=5)

    renderer = farm.renderer({3: cancel, 4: RuntimeError("a step too many")})
    assert renderer.serve_one() == "cancelled"
    state = farm.store.state(job.id)
    assert (state.status, state.step, state.num_steps) == ("cancelled", 3, STEPS)
    assert not [name for name in farm.storage.names("state") if name.endswith(".safetensors")]
    assert ledger.read_record(farm.storage, job.clip_id) is None


def test_a_cancellation_is_heard_without_a_dispatcher(farm: Farm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("farm.workers.attending.ASK_STORAGE_S", 0.01)
    job = farm.submit()
    queue, renderer = AwayQueue(job), None

    def cancel() -> None:
        farm.store.wish_cancel(job.id, by="ann")
        assert renderer is not None
        eventually(renderer._should_stop, timeout_s=5)

    renderer = farm.renderer({2: cancel}, queue=queue)
    assert renderer.serve_one() == "cancelled"
    assert farm.store.state(job.id).status == "cancelled"


def test_a_cancellation_is_heard_that_the_dispatcher_was_not_told_of(
    farm: Farm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("farm.workers.attending.DOUBT_S", 0.01)
    job, renderer = farm.submit(), None

    def cancel() -> None:
        farm.store.wish_cancel(job.id, by="ann")  # at a replica whose own dispatcher does not lead, or was just away
        farm.dispatcher.look()
        assert renderer is not None
        eventually(renderer._should_stop, timeout_s=5)

    renderer = farm.renderer({2: cancel})
    assert renderer.serve_one() == "cancelled"
    assert farm.store.state(job.id).status == "cancelled"


def test_without_a_dispatcher_a_job_in_work_comes_to_its_end(farm: Farm) -> None:
    job = farm.submit()
    queue, stop = AwayQueue(job), threading.Event()
    renderer = farm.renderer(queue=queue)
    thread = threading.Thread(target=renderer.run, args=(stop.is_set,))
    thread.start()
    eventually(lambda: farm.store.state(job.id).status == "completed", timeout_s=10)
    assert queue.num_asked
    assert thread.is_alive()  # it waits for the dispatcher to come back
    stop.set()
    thread.join(10)
    assert not thread.is_alive()


def test_who_leaves_hands_its_clip_over(farm: Farm) -> None:
    job, stop = farm.submit(), threading.Event()
    farm.renderer({3: stop.set}, name="leaving").run(stop.is_set)
    state = farm.store.state(job.id)
    assert (state.status, state.step) == ("queued", 3)
    heir = farm.renderer(name="heir")
    assert heir.serve_one() == "completed"
    assert farm.engines["heir"].begun_at == [3]
    assert farm.store.state(job.id).attempts == 1


def test_a_killed_renderers_job_is_anothers_when_its_lease_is_over(farm: Farm) -> None:
    job = farm.submit()
    with pytest.raises(KeyboardInterrupt):  # no order is kept in its way out
        farm.renderer({4: _die}, name="killed", lease_s=0.6).serve_one()
    assert farm.store.state(job.id).status == "in_progress"
    heir = farm.renderer(name="heir", lease_s=0.6, queue=AwayQueue(job, job))
    assert heir.serve_one() in ("held", "completed")
    if farm.store.state(job.id).status != "completed":
        time.sleep(1.0)
        assert heir.serve_one() == "completed"
    assert farm.store.state(job.id).epoch == 2
    assert farm.engines["heir"].begun_at == [3]


def _die() -> None:
    raise KeyboardInterrupt


def test_a_job_that_two_dispatchers_hand_out_is_rendered_once(farm: Farm) -> None:
    job = farm.submit()
    is_at_it, go_on = threading.Event(), threading.Event()

    def wait() -> None:
        is_at_it.set()
        assert go_on.wait(10)

    one = farm.renderer({2: wait}, name="one", queue=AwayQueue(job))
    two = farm.renderer(name="two", queue=AwayQueue(job, job))
    endings: list[Ending | None] = []
    thread = threading.Thread(target=lambda: endings.append(one.serve_one()))
    thread.start()
    assert is_at_it.wait(10)
    assert two.serve_one() == "held"
    go_on.set()
    thread.join(10)
    assert endings == ["completed"]
    assert two.serve_one() == "gone"
    assert farm.engines["two"].orders == []
    assert farm.store.state(job.id).epoch == 1


def test_whoever_lost_its_lease_writes_nothing_that_counts(farm: Farm) -> None:
    job = farm.submit()

    def be_taken_over() -> None:
        farm.storage.replace(f"jobs/{job.id}/lease/{1:08d}.end", b"")  # as if its lease had run out
        heir = farm.renderer(name="heir", queue=AwayQueue(job))
        assert heir.serve_one() == "completed"

    renderer = farm.renderer({3: be_taken_over}, name="late", queue=AwayQueue(job))
    assert renderer.serve_one() in ("gone", "held")
    state = farm.store.state(job.id)
    assert (state.status, state.by, state.epoch) == ("completed", "heir", 2)
    assert len([name for name in farm.storage.names("clips") if name.endswith(".json")]) == 1


def test_a_gang_that_does_not_start_is_not_the_jobs_fault(farm: Farm) -> None:
    job = farm.submit()
    renderer = farm.renderer({2: GangStartError("no room")})
    with pytest.raises(GangStartError):
        renderer.run(lambda: False)
    assert farm.store.state(job.id).status == "queued"
    assert farm.renderer(name="heir").serve_one() == "completed"


def test_a_storage_that_stays_away_costs_time_only(farm: Farm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("farm.workers.online.FIRST_PAUSE_S", 0.01)
    job, stop = farm.submit(), threading.Event()
    fault = StorageUnavailableError("create", "clips", "503")
    renderer = farm.renderer({2: fault})
    thread = threading.Thread(target=renderer.run, args=(stop.is_set,))
    thread.start()
    eventually(lambda: farm.store.state(job.id).status == "completed", timeout_s=10)
    stop.set()
    thread.join(10)
    assert farm.store.state(job.id).attempts == 1


def test_a_removed_job_is_gone(farm: Farm) -> None:
    job = farm.submit()
    farm.store.wish_cancel(job.id, by="ann")
    farm.store.remove(job.id)
    assert farm.renderer(queue=AwayQueue(job)).serve_one() == "gone"
    assert list(farm.storage.names("jobs")) == []


def test_progress_and_previews_reach_the_dispatcher(farm: Farm) -> None:
    job = farm.submit()
    seen: list[tuple[int | None, int | None]] = []

    def look() -> None:
        eventually(lambda: (farm.dispatcher.progress(job.id) or None) is not None, timeout_s=5)
        progress = farm.dispatcher.progress(job.id)
        assert progress is not None
        assert progress.status == "in_progress"
        eventually(lambda: farm.dispatcher.progress(job.id).step == 3, timeout_s=5)  # type: ignore[union-attr]
        seen.append((farm.dispatcher.progress(job.id).step, STEPS))  # type: ignore[union-attr]

    assert farm.renderer({4: look}).serve_one() == "completed"
    assert seen == [(3, STEPS)]
