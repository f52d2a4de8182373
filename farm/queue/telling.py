"""What a dispatcher tells of its desk: how far a job is, how much there is to do."""

from __future__ import annotations

from farm.queue.backlog import ModelBacklog, Progress, RendererState
from farm.queue.desk import Desk
from farm.queue.entries import Entry
from farm.queue.forecast import Forecast
from farm.queue.lane import Lane


def progress_of(desk: Desk, entry: Entry, now_s: float, *, ahead: Forecast | None, is_paused: bool) -> Progress:
    """Where an open job stands. `ahead` is needed for one that is queued."""
    lane, run = desk.book.lane_of(entry), entry.run
    position, starts_in_s = _start(desk, entry, now_s, ahead=ahead)
    if is_paused:
        starts_in_s = None
    ends_in_s = None if starts_in_s is None else starts_in_s + lane.expected_s(entry)
    return Progress(
        job_id=entry.job.id,
        version=entry.version,
        status="queued" if run is None else "in_progress",
        model=entry.job.model,
        position=position,
        starts_in_s=starts_in_s,
        ends_in_s=ends_in_s if run is None else lane.remaining_s(entry, now_s),
        step=None if run is None or run.last is None else run.last[0],
        num_steps=None if run is None else run.num_steps,
        preview=None if run is None else run.preview,
        preview_step=None if run is None else run.preview_step,
        renderer=None if run is None else run.renderer,
        is_cancelling=entry.is_cancelling,
    )


def _start(desk: Desk, entry: Entry, now_s: float, *, ahead: Forecast | None) -> tuple[int | None, float | None]:
    """How many go before it, and in how many seconds it begins."""
    if entry.place == "waiting":
        runner = desk.book.runner_of(entry.clip_id)
        return 0, 0.0 if runner is None else desk.book.lane_of(runner).remaining_s(runner, now_s)
    if entry.place == "queued" and ahead is not None:
        return ahead.start(entry.job.id, now_s)
    return None, None


def free_in_s(desk: Desk, lane: Lane, now_s: float) -> list[float]:
    """When each renderer of a model can begin its next job."""
    jobs = [desk.at(seat) for seat in desk.seats.values() if seat.model == lane.name]
    return [0.0 if entry is None else lane.remaining_s(entry, now_s) for entry in jobs]


def renderer_states(desk: Desk) -> tuple[RendererState, ...]:
    """All renderers that were heard of lately, by name."""
    found = list[RendererState]()
    for name, seat in sorted(desk.seats.items()):
        entry = desk.at(seat)
        run = None if entry is None else entry.run
        step = None if run is None or run.last is None else run.last[0]
        num_steps = None if run is None else run.num_steps
        found.append(RendererState(name=name, model=seat.model, job_id=seat.job_id, step=step, num_steps=num_steps))
    return tuple(found)


def model_backlog(desk: Desk, lane: Lane, now_s: float, *, clips_per_minute: float) -> ModelBacklog:
    """One model's queue."""
    seats = [seat for seat in desk.seats.values() if seat.model == lane.name]
    seconds = lane.queued_s * lane.pace + lane.running_s(now_s)
    return ModelBacklog(
        model=lane.name,
        num_queued=lane.num_queued,
        num_running=len(lane.running),
        num_renderers=len(seats),
        num_busy=sum(seat.job_id is not None for seat in seats),
        seconds=seconds,
        device_seconds=seconds * lane.model.num_ranks,
        wait_s=seconds / len(seats) if seats else seconds + lane.model.load_s,
        clips_per_minute=clips_per_minute,
    )
