"""The dispatcher: whose turn it is, who is at what, and what becomes of jobs whose renderer is gone."""

from __future__ import annotations

import pytest
from queued_jobs import Clock, ScriptedStore, make_job

from farm import control
from farm.queue.dispatch import Dispatcher, ModelLane, Policy
from farm.queue.job import Job


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store() -> ScriptedStore:
    return ScriptedStore()


@pytest.fixture
def queue(store: ScriptedStore, clock: Clock) -> Dispatcher:
    return Dispatcher(store, {"nano": ModelLane()}, clock=clock)


def submit(store: ScriptedStore, queue: Dispatcher, **changes: object) -> Job:
    job = store.put(make_job(**changes))
    queue.submitted(job)
    return job


def taken(queue: Dispatcher, renderer: str = "r1", model: str = "nano") -> str | None:
    job = queue.take(renderer, model)
    return None if job is None else job.id


def end(store: ScriptedStore, queue: Dispatcher, renderer: str, job: Job) -> None:
    store.finish(job.id)
    queue.ended(renderer, job.id, "completed")


def test_priority_then_age(store: ScriptedStore, queue: Dispatcher) -> None:
    old, urgent, young = submit(store, queue), submit(store, queue, priority=5), submit(store, queue)
    assert [taken(queue, f"r{n}") for n in range(4)] == [urgent.id, old.id, young.id, None]


def test_each_model_has_its_own_queue(store: ScriptedStore, queue: Dispatcher) -> None:
    other = submit(store, queue, model="large")
    assert taken(queue) is None
    assert taken(queue, "r2", "large") == other.id
    assert queue.backlog().models["large"].num_running == 1


def test_projects_take_turns_whatever_they_submit(store: ScriptedStore, queue: Dispatcher) -> None:
    for _ in range(20):
        submit(store, queue, project="ann", priority=100)
    bens = [submit(store, queue, project="ben").id for _ in range(3)]
    order = [taken(queue, f"r{n}") for n in range(6)]
    assert [job_id for job_id in order if job_id in bens] == bens


def test_keys_of_one_project_take_turns_too(store: ScriptedStore, queue: Dispatcher) -> None:
    for _ in range(20):
        submit(store, queue, key_id="busy", priority=100)
    rare = [submit(store, queue, key_id="rare").id for _ in range(3)]
    ahead = queue.progresses(store.open_ids())
    order = [taken(queue, f"r{n}") for n in range(6)]
    assert [job_id for job_id in order if job_id in rare] == rare
    assert order == sorted(ahead, key=lambda job_id: ahead[job_id].position or 0)[:6]


def test_shares_follow_weights_and_device_seconds(store: ScriptedStore, clock: Clock) -> None:
    queue = Dispatcher(store, {"nano": ModelLane()}, policy=Policy(weights={"ann": 3.0}), clock=clock)
    for _ in range(60):
        submit(store, queue, project="ann", device_seconds=10.0)
        submit(store, queue, project="ben", device_seconds=20.0)
    projects = [job.project for n in range(40) if (job := queue.take(f"r{n}", "nano"))]
    served = {"ann": 10.0 * projects.count("ann"), "ben": 20.0 * projects.count("ben")}
    assert abs(served["ann"] / 3 - served["ben"]) <= 10 / 3 + 20


def test_shares_follow_the_weights_of_keys(store: ScriptedStore, queue: Dispatcher) -> None:
    for _ in range(60):
        submit(store, queue, project="ann", weight=3.0)
        submit(store, queue, project="ben")
    ahead = queue.progresses(store.open_ids())
    expected = sorted(ahead, key=lambda job_id: ahead[job_id].position or 0)
    jobs = [job for n in range(40) if (job := queue.take(f"r{n}", "nano"))]
    assert [job.project for job in jobs].count("ann") == 30
    assert [job.id for job in jobs] == expected[:40]


def test_the_next_may_be_taken_while_they_are_asked_for(
    store: ScriptedStore, queue: Dispatcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit(store, queue)
    look_ahead = queue._look_ahead

    def late(job_ids: tuple[str, ...]) -> None:
        taken(queue)
        look_ahead(job_ids)

    monkeypatch.setattr(queue, "_look_ahead", late)
    assert queue.upcoming("nano", 3) == ()


def test_who_was_idle_has_saved_nothing_up(store: ScriptedStore, queue: Dispatcher) -> None:
    for _ in range(10):
        submit(store, queue, project="ann")
    for n in range(8):
        taken(queue, f"r{n}")
    bens = {submit(store, queue, project="ben").id for _ in range(8)}
    order = [taken(queue, f"s{n}") in bens for n in range(4)]
    assert sum(order) in (2, 3)


def test_a_job_is_handed_out_once(store: ScriptedStore, queue: Dispatcher) -> None:
    job = submit(store, queue)
    queue.submitted(job)
    assert [taken(queue, "r1"), taken(queue, "r2")] == [job.id, None]
    end(store, queue, "r1", job)
    queue.submitted(job)
    queue.look()
    assert taken(queue, "r2") is None


def test_one_clip_is_in_work_once_and_then_answers_the_others(store: ScriptedStore, queue: Dispatcher) -> None:
    first, second, other = submit(store, queue, seed=1), submit(store, queue, seed=1), submit(store, queue, seed=2)
    assert [taken(queue, "r1"), taken(queue, "r2"), taken(queue, "r3")] == [first.id, other.id, None]
    assert queue.backlog().models["nano"].num_queued == 1
    end(store, queue, "r1", first)
    assert queue.backlog().models["nano"].seconds == pytest.approx(10.0)  # the one that runs
    late = submit(store, queue, project="ben")
    assert [taken(queue, "r1"), taken(queue, "r3")] == [second.id, late.id]


def test_a_clip_that_was_not_made_is_tried_by_the_next_job(store: ScriptedStore, queue: Dispatcher) -> None:
    first, second = submit(store, queue, seed=1), submit(store, queue, seed=1)
    assert [taken(queue, "r1"), taken(queue, "r2")] == [first.id, None]
    store.finish(first.id, "failed")
    queue.ended("r1", first.id, "failed")
    assert taken(queue, "r2") == second.id
    assert queue.backlog().models["nano"].seconds == pytest.approx(10.0)


def test_what_a_renderer_puts_down_goes_first(store: ScriptedStore, queue: Dispatcher) -> None:
    first, urgent = submit(store, queue), submit(store, queue, priority=9)
    assert taken(queue, "r1") == urgent.id
    submit(store, queue, priority=50)
    queue.ended("r1", urgent.id, "put down")
    assert [taken(queue, "r1")] == [urgent.id]
    assert first.id in queue.progresses([first.id])


def test_a_silent_renderers_job_goes_to_another(store: ScriptedStore, queue: Dispatcher, clock: Clock) -> None:
    job = submit(store, queue)
    assert taken(queue, "r1") == job.id
    clock.now_s += 15
    assert queue.stepped("r1", job.id, done=1, total=20) == "go on"
    clock.now_s += 15
    assert taken(queue, "r2") is None
    clock.now_s += 6
    assert taken(queue, "r2") == job.id
    assert [renderer.name for renderer in queue.backlog().renderers] == ["r2"]


def test_a_renderer_that_leaves_hands_over_at_once(store: ScriptedStore, queue: Dispatcher) -> None:
    job = submit(store, queue)
    assert taken(queue, "r1") == job.id
    queue.left("r1")
    assert taken(queue, "r2") == job.id


def test_who_takes_has_nothing_else(store: ScriptedStore, queue: Dispatcher) -> None:
    job, next_one = submit(store, queue), submit(store, queue)
    assert taken(queue, "r1") == job.id  # the answer got lost
    assert taken(queue, "r1") == job.id
    assert taken(queue, "r2") == next_one.id


def test_what_another_holds_is_tried_again_later(store: ScriptedStore, queue: Dispatcher, clock: Clock) -> None:
    job = submit(store, queue)
    assert taken(queue, "r1") == job.id
    queue.ended("r1", job.id, "held")
    assert taken(queue, "r1") is None
    progress = queue.progress(job.id)
    assert progress is not None
    assert (progress.status, progress.renderer) == ("in_progress", None)
    clock.now_s += 21
    assert taken(queue, "r2") == job.id


def test_an_earlier_dispatchers_renderer_is_known_by_its_report(store: ScriptedStore, clock: Clock) -> None:
    job = store.put(make_job(), "in_progress")
    queue = Dispatcher(store, {"nano": ModelLane()}, clock=clock)
    assert queue.rebuild() == 1
    clock.now_s += 15
    queue.stepped("r1", job.id, done=7, total=20)
    clock.now_s += 15
    assert taken(queue, "r2") is None
    progress = queue.progress(job.id)
    assert progress is not None
    assert (progress.renderer, progress.step, progress.num_steps) == ("r1", 7, 20)
    queue.stepped("r1", job.id, done=8, total=20)


def test_a_report_of_a_job_that_was_given_up_takes_it_back(
    store: ScriptedStore, queue: Dispatcher, clock: Clock
) -> None:
    job = submit(store, queue)
    assert taken(queue, "r1") == job.id
    clock.now_s += 30
    assert queue.backlog().models["nano"].num_queued == 1
    queue.stepped("r1", job.id, done=3, total=20)
    assert taken(queue, "r2") is None
    assert queue.backlog().models["nano"].num_running == 1


def test_a_stale_renderers_words_change_nothing(store: ScriptedStore, queue: Dispatcher, clock: Clock) -> None:
    job = submit(store, queue)
    assert taken(queue, "r1") == job.id
    clock.now_s += 30
    assert taken(queue, "r2") == job.id
    assert queue.stepped("r1", job.id, done=3, total=20) == "go on"  # its lease tells it, not we
    queue.ended("r1", job.id, "put down")
    assert taken(queue, "r3") is None
    progress = queue.progress(job.id)
    assert progress is not None
    assert (progress.renderer, progress.step) == ("r2", None)


def test_a_queued_job_is_cancelled_at_once(store: ScriptedStore, queue: Dispatcher) -> None:
    job, waiting_for = submit(store, queue, seed=1), submit(store, queue, seed=1)
    assert queue.cancel(job.id) == "dropped"
    assert queue.cancel(job.id) == "dropped"
    assert taken(queue, "r1") == waiting_for.id
    store.wish_cancel(job.id, by="ann")
    queue.look()
    progress = queue.progress(job.id)
    assert progress is not None
    assert progress.status == "cancelled"


def test_a_cancelled_job_whose_end_nobody_wrote_is_ended(store: ScriptedStore, queue: Dispatcher) -> None:
    job = submit(store, queue)
    assert queue.cancel(job.id) == "dropped"
    queue.look()
    assert store.wishes == [job.id]
    assert store.statuses[job.id] == "cancelled"
    queue.look()
    assert queue.backlog().models["nano"].num_queued == 0
    assert store.wishes == [job.id]


def test_a_running_job_is_told_to_stop(store: ScriptedStore, queue: Dispatcher) -> None:
    job = submit(store, queue)
    assert taken(queue) == job.id
    assert queue.stepped("r1", job.id, done=1, total=20) == "go on"
    assert queue.cancel(job.id) == "stopping"
    assert queue.stepped("r1", job.id, done=2, total=20) == "stop"
    store.finish(job.id, "cancelled")
    queue.ended("r1", job.id, "cancelled")
    progress = queue.progress(job.id)
    assert progress is not None
    assert progress.status == "cancelled"
    assert queue.cancel(job.id) == "unknown"


def test_a_cancelled_job_that_lost_its_renderer_is_never_handed_out(
    store: ScriptedStore, queue: Dispatcher, clock: Clock
) -> None:
    job = submit(store, queue)
    assert taken(queue, "r1") == job.id
    queue.cancel(job.id)
    store.wished.add(job.id)
    store.held.add(job.id)
    clock.now_s += 30
    assert taken(queue, "r2") is None
    queue.look()
    assert job.id in store.open  # its lease runs still
    store.held.clear()
    queue.look()
    assert store.statuses[job.id] == "cancelled"


def test_a_wish_found_in_the_storage_counts(store: ScriptedStore, clock: Clock) -> None:
    queued, running = store.put(make_job()), store.put(make_job(), "in_progress")
    store.wished |= {queued.id, running.id}
    store.held.add(running.id)
    queue = Dispatcher(store, {"nano": ModelLane()}, clock=clock)
    queue.rebuild()
    assert taken(queue) is None
    assert store.statuses[queued.id] == "cancelled"
    assert queue.stepped("r1", running.id, done=4, total=20) == "stop"


def test_look_finds_lost_notices_and_forgets_what_ended_elsewhere(store: ScriptedStore, queue: Dispatcher) -> None:
    lost_notice, removed = store.put(make_job()), store.put(make_job())
    queue.look()
    assert queue.backlog().models["nano"].num_queued == 2
    store.finish(lost_notice.id, "failed")
    store.remove(removed.id)
    queue.look()
    assert queue.backlog().models["nano"].num_queued == 0
    assert queue.progress(removed.id) is None
    progress = queue.progress(lost_notice.id)
    assert progress is not None
    assert progress.status == "failed"


def test_look_leaves_the_end_of_what_runs_here_to_its_renderer(store: ScriptedStore, queue: Dispatcher) -> None:
    job = submit(store, queue)
    assert taken(queue) == job.id
    store.finish(job.id)
    queue.look()
    assert queue.backlog().models["nano"].num_running == 1
    assert taken(queue) == job.id  # its `ended` got lost: at its claim the renderer will see that it is gone
    queue.ended("r1", job.id, "gone")
    assert queue.backlog().models["nano"].num_running == 0


def test_an_open_mark_without_its_job_waits(store: ScriptedStore, queue: Dispatcher) -> None:
    job = make_job()
    store.open.add(job.id)
    queue.look()
    assert queue.progress(job.id) is None
    store.put(job)
    queue.look()
    assert taken(queue) == job.id


def test_while_paused_nothing_begins(store: ScriptedStore, queue: Dispatcher) -> None:
    running, job = submit(store, queue), submit(store, queue)
    assert taken(queue, "r1") == running.id
    control.give_command(store.storage, "online", "pause", by="ann@desk")
    queue.look()
    assert taken(queue, "r2") is None
    assert queue.stepped("r1", running.id, done=1, total=20) == "go on"
    pause, progress = queue.backlog().pause, queue.progress(job.id)
    assert pause is not None
    assert pause.by == "ann@desk"
    assert progress is not None
    assert (progress.position, progress.starts_in_s, progress.ends_in_s) == (0, None, None)
    control.give_command(store.storage, "online", "resume", by="ann@desk")
    queue.look()
    assert taken(queue, "r2") == job.id


def test_changes_are_told_without_the_lock_and_each_with_a_new_version(store: ScriptedStore, clock: Clock) -> None:
    seen: list[tuple[str, int]] = []

    def on_change(job_id: str) -> None:
        progress = queue.progress(job_id)
        assert progress is not None
        seen.append((progress.status, progress.version))

    queue = Dispatcher(store, {"nano": ModelLane()}, clock=clock, on_change=on_change)
    job = submit(store, queue)
    taken(queue)
    queue.stepped("r1", job.id, done=None, total=None)  # a sign of life is no news
    queue.stepped("r1", job.id, done=1, total=20)
    queue.stepped("r1", job.id, done=1, total=20)
    queue.stepped("r1", job.id, done=1, total=20, preview=b"webp")
    end(store, queue, "r1", job)
    assert [status for status, _ in seen] == ["queued", "in_progress", "in_progress", "in_progress", "completed"]
    versions = [version for _, version in seen]
    assert sorted(set(versions)) == versions
    later = Dispatcher(store, {"nano": ModelLane()}, clock=clock)
    again = submit(store, later)
    progress = later.progress(again.id)
    assert progress is not None
    assert progress.version not in versions


def test_a_preview_goes_with_its_step_and_ends_with_the_job(store: ScriptedStore, queue: Dispatcher) -> None:
    job = submit(store, queue)
    taken(queue)
    queue.stepped("r1", job.id, done=3, total=20, preview=b"webp")
    queue.stepped("r1", job.id, done=4, total=20)
    progress = queue.progress(job.id)
    assert progress is not None
    assert (progress.preview, progress.preview_step, progress.step) == (b"webp", 3, 4)
    end(store, queue, "r1", job)
    progress = queue.progress(job.id)
    assert progress is not None
    assert progress.preview is None


def test_the_ended_are_forgotten_in_time(store: ScriptedStore, queue: Dispatcher, clock: Clock) -> None:
    job = submit(store, queue)
    taken(queue)
    end(store, queue, "r1", job)
    clock.now_s += 599
    queue.look()
    assert queue.progress(job.id) is not None
    clock.now_s += 2
    queue.look()
    assert queue.progress(job.id) is None
