"""The dispatcher under thousands of random events, audited after each; and its shares, with the bound they promise."""

from __future__ import annotations

import itertools
import random
from collections import defaultdict

import pytest
from queued_jobs import Clock, ScriptedStore, make_job

from farm.queue.client import Ending
from farm.queue.desk import Desk
from farm.queue.dispatch import Dispatcher, ModelLane, Policy
from farm.queue.entries import Entry
from farm.queue.job import Job, Status
from farm.queue.lane import Lane

NUM_EVENTS = 3000
SILENCE_S = 20.0
MODELS = ("nano", "large")
PROJECTS = ("ann", "ben", "cem", "dan")


class Farm:
    """A dispatcher, its store, and renderers that do whatever a random number tells them.

    `holders` is what an onlooker knows: who was handed which job and has said nothing since that ends it.
    """

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.clock = Clock()
        self.store = ScriptedStore()
        self.queue = self.new_queue()
        self.holders: dict[str, tuple[str, float]] = {}
        self.cancelled: set[str] = set()
        self.handed_out: list[str] = []
        self.ends: dict[str, Status] = {}
        self.unheard: set[str] = set()

    def new_queue(self) -> Dispatcher:
        models = {"nano": ModelLane(num_ranks=2), "large": ModelLane(estimate=lambda job: None)}
        policy = Policy(silence_s=SILENCE_S, weights={"ann": 2.0})
        return Dispatcher(self.store, models, policy=policy, clock=self.clock)

    def happen(self) -> None:
        events = {
            self.submit: 10, self.submit_unheard: 2, self.take: 14, self.step: 12, self.end: 8, self.put_down: 2,
            self.be_held: 1, self.leave: 1, self.cancel: 2, self.wait: 3, self.look: 2, self.end_elsewhere: 1,
            self.ask: 2, self.restart: 0.05,
        }  # fmt: skip
        (event,) = self.random.choices(list(events), list(events.values()))
        event()

    def renderer(self) -> str:
        return f"r{self.random.randrange(6)}"

    def new_job(self) -> Job:
        return self.store.put(
            make_job(
                seed=self.random.randrange(400),
                project=self.random.choice(PROJECTS),
                key_id=self.random.choice(["k1", "k2", None]),
                model=self.random.choice(MODELS),
                priority=self.random.choice([-1, 0, 0, 0, 7]),
                device_seconds=self.random.choice([None, 0.0, 1.0, 30.0]),
            )
        )

    def submit(self) -> None:
        self.queue.submitted(self.new_job())

    def submit_unheard(self) -> None:
        self.new_job()

    def take(self) -> None:
        renderer = self.renderer()
        self.let_go(renderer)
        job = self.queue.take(renderer, self.random.choice(MODELS))
        if job is None:
            return
        assert job.id not in self.cancelled
        if job.id in self.unheard:  # its renderer's last word was lost: whoever claims it finds that out
            self.queue.ended(renderer, job.id, "gone")
            return
        assert job.id not in self.ends
        holder, heard_s = self.holders.get(job.id, (renderer, 0.0))
        assert holder == renderer or self.clock() - heard_s > SILENCE_S
        self.holders[job.id] = (renderer, self.clock())
        self.store.statuses[job.id] = "in_progress"
        self.handed_out.append(job.id)

    def let_go(self, renderer: str) -> None:
        for job_id in [job_id for job_id, holder in self.holders.items() if holder[0] == renderer]:
            del self.holders[job_id]

    def held(self) -> tuple[str, str] | None:
        if not self.holders:
            return None
        job_id = self.random.choice(sorted(self.holders))
        return job_id, self.holders[job_id][0]

    def step(self) -> None:
        if (held := self.held()) is not None:
            job_id, renderer = held
            done = self.random.choice([None, 1, 2, 10])
            answer = self.queue.stepped(renderer, job_id, done=done, total=20)
            assert (answer == "stop") == (job_id in self.cancelled)
            # Where silence has cost it the job meanwhile, its word may have got it back or not.
            if self.queue._desk.is_at(renderer, self.queue._desk.book.entries[job_id]):
                self.holders[job_id] = (renderer, self.clock())
            else:
                del self.holders[job_id]

    def end(self) -> None:
        if (held := self.held()) is not None:
            job_id, renderer = held
            endings: list[Ending] = ["completed", "completed", "answered", "failed"]
            ending = "cancelled" if job_id in self.cancelled else self.random.choice(endings)
            self.finish(job_id, "completed" if ending == "answered" else ending)  # type: ignore[arg-type]
            if self.random.random() < 0.9:
                self.queue.ended(renderer, job_id, ending)
            else:
                self.unheard.add(job_id)
            del self.holders[job_id]

    def finish(self, job_id: str, status: Status) -> None:
        assert job_id not in self.ends
        self.ends[job_id] = status
        self.store.finish(job_id, status)

    def put_down(self) -> None:
        if (held := self.held()) is not None:
            self.queue.ended(held[1], held[0], "put down")
            del self.holders[held[0]]

    def be_held(self) -> None:
        if (held := self.held()) is not None:
            self.queue.ended(held[1], held[0], "held")
            del self.holders[held[0]]

    def leave(self) -> None:
        renderer = self.renderer()
        self.let_go(renderer)
        self.queue.left(renderer)

    def cancel(self) -> None:
        if known := sorted(self.queue._desk.book.entries):
            job_id = self.random.choice(known)
            if job_id in self.ends:
                return
            self.queue.cancel(job_id)
            self.store.wished.add(job_id)
            self.cancelled.add(job_id)

    def wait(self) -> None:
        self.clock.now_s += self.random.choice([0.1, 3.0, 15.0, 25.0])

    def look(self) -> None:
        self.store.held = set(self.holders)
        self.queue.look()
        for job_id in self.store.wishes:
            if self.store.statuses[job_id] == "cancelled":
                self.ends[job_id] = "cancelled"
        assert self.store.open <= set(self.queue._desk.book.entries)

    def end_elsewhere(self) -> None:
        idle = sorted(self.store.open - set(self.holders) - self.cancelled)
        if idle:
            self.finish(self.random.choice(idle), "completed")
            self.look()

    def ask(self) -> None:
        backlog = self.queue.backlog()
        known = sorted(self.queue._desk.book.entries)
        for progress in self.queue.progresses(known[:20]).values():
            assert progress.ends_in_s is None or progress.ends_in_s >= 0
        assert all(model.seconds >= 0 for model in backlog.models.values())

    def restart(self) -> None:
        self.queue = self.new_queue()
        self.queue.rebuild()
        self.look()

    def drain(self) -> None:
        """One renderer of each model does all that is left."""
        for _ in range(10_000):
            self.clock.now_s += SILENCE_S + 1
            self.holders.clear()
            self.look()
            if not self.store.open:
                return
            for model in MODELS:
                while (job := self.queue.take(f"last-{model}", model)) is not None:
                    assert job.id not in self.cancelled
                    if job.id in self.unheard:
                        self.queue.ended(f"last-{model}", job.id, "gone")
                        continue
                    self.finish(job.id, "completed")
                    self.queue.ended(f"last-{model}", job.id, "completed")
        raise AssertionError(f"never handed out: {sorted(self.store.open)}")


def audit(desk: Desk) -> None:
    """Each job is in one place, and every count is what one gets by counting."""
    book = desk.book
    places: dict[str, list[str]] = defaultdict(list)
    for lane in book.lanes.values():
        for sharer, heap in lane.heaps.items():
            valid = [entry for _, ticket, entry in heap if entry.ticket == ticket]
            assert len(valid) == lane.sizes[sharer] > 0
            for entry in valid:
                assert entry.place == "queued"
                assert (entry.job.project, entry.job.key_id or "") == sharer
                places[entry.job.id].append("heap")
        for entry in lane.answerable:
            places[entry.job.id].append("answerable")
        for job_id, entry in lane.running.items():
            assert entry.place == "running"
            assert entry.run is not None
            places[job_id].append("running")
    for clip_id, entries in book._waiting.items():
        assert book.runner_of(clip_id) is not None
        for entry in entries:
            assert entry.place == "waiting"
            assert entry.clip_id == clip_id
            places[entry.job.id].append("waiting")
    for entry in book.ending():
        assert entry.is_cancelling
        places[entry.job.id].append("ending")
    assert set(places) == set(book.entries)
    assert {len(found) for found in places.values()} <= {1}
    running = list(book.running())
    assert len({entry.clip_id for entry in running}) == len(running)
    assert {entry.clip_id: entry for entry in running} == book._clips
    at = {renderer: seat.job_id for renderer, seat in desk.seats.items() if seat.job_id is not None}
    assert at == {entry.run.renderer: entry.job.id for entry in running if entry.run and entry.run.renderer}
    for lane in book.lanes.values():
        check_sums(desk, lane)
    check_owners(desk)


def check_sums(desk: Desk, lane: Lane) -> None:
    queued = [entry for entry in desk.book.entries.values() if entry.job.model == lane.name and is_queued(entry)]
    assert lane.num_queued == len(queued)
    assert lane.queued_s == pytest.approx(sum(entry.seconds for entry in queued), abs=1e-6)


def check_owners(desk: Desk) -> None:
    for told, owner_of in (
        (desk.book.owners.projects(), lambda entry: entry.job.project),
        (desk.book.owners.keys(), lambda entry: entry.job.key_id),
    ):
        counted: dict[str, list[float]] = defaultdict(lambda: [0, 0, 0.0])
        for entry in desk.book.entries.values():
            if owner_of(entry) is not None and entry.place != "ending":
                count = counted[owner_of(entry)]
                count[0] += is_queued(entry)
                count[1] += entry.place == "running"
                count[2] += is_queued(entry) * entry.seconds * desk.book.lane_of(entry).model.num_ranks
        assert set(told) == set(counted)
        for owner, (num_queued, num_running, device_seconds) in counted.items():
            assert (told[owner].num_queued, told[owner].num_running) == (num_queued, num_running)
            assert told[owner].device_seconds == pytest.approx(device_seconds, abs=1e-6)


def is_queued(entry: Entry) -> bool:
    return entry.place in ("queued", "waiting")


@pytest.mark.parametrize("seed", range(8))
def test_whatever_happens_each_job_is_in_one_place_and_none_is_lost(seed: int) -> None:
    farm = Farm(seed)
    for _ in range(NUM_EVENTS):
        farm.happen()
        audit(farm.queue._desk)
    submitted = set(farm.store.jobs)
    assert len(farm.handed_out) > NUM_EVENTS / 20
    farm.drain()
    audit(farm.queue._desk)
    assert set(farm.ends) == submitted
    assert not {job_id for job_id, status in farm.ends.items() if status == "cancelled"} - farm.cancelled


@pytest.mark.parametrize("seed", range(6))
def test_shares_stay_within_one_job_of_each_project(seed: int) -> None:
    """Projects that always have work, renderers that finish in any order, put jobs down and lose them."""
    chance, clock, store = random.Random(seed), Clock(), ScriptedStore()
    weights = {"ann": 1.0, "ben": 2.5, "cem": 0.5}
    sizes = {"ann": (1.0, 60.0), "ben": (5.0, 40.0), "cem": (10.0,)}
    queue = Dispatcher(store, {"nano": ModelLane()}, policy=Policy(weights=weights), clock=clock)
    for project, number in itertools.product(weights, range(700)):
        del number
        queue.submitted(store.put(make_job(project=project, device_seconds=chance.choice(sizes[project]))))
    served: dict[str, float] = defaultdict(float)
    counted: set[str] = set()
    busy: dict[str, Job] = {}
    for _ in range(1500):
        renderer = f"r{chance.randrange(5)}"
        if (job := busy.pop(renderer, None)) is not None:
            queue.ended(renderer, job.id, chance.choice(["completed", "completed", "put down"]))
            continue
        job = queue.take(renderer, "nano")
        assert job is not None
        busy[renderer] = job
        if job.id not in counted:
            counted.add(job.id)
            served[job.project] += job.device_seconds or 0.0
        for one, other in itertools.combinations(weights, 2):
            apart = abs(served[one] / weights[one] - served[other] / weights[other])
            assert apart <= max(sizes[one]) / weights[one] + max(sizes[other]) / weights[other] + 1e-9
    assert min(served.values()) > 0
