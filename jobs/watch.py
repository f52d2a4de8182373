"""`wanfarm watch`: follow a run to its end, from storage alone; where an address is given, its job as well.

It ends with the exit code that the run's `wanfarm render` ended with, or would have: 0, 1, or 75 where the driver is
gone while clips remain. Ctrl-C ends the watching only, with 130.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from farm.errors import Interrupted, StorageError, TransientError, UsageError
from farm.layout import run_folder
from farm.results import count_statuses
from farm.run_progress import RunProgress, read_progress
from farm.settings import Settings
from farm.storage import Storage
from jobs.calls import FailureBudget
from jobs.control import chosen_card
from jobs.opening import existing_output, open_output
from jobs.printing import say, say_json
from jobs.progress import Display, Tally, progress_display
from jobs.ray_jobs import JobsApiError, RayJobs, connect
from jobs.signals import AGAIN
from jobs.submissions import FarmJob, newest_of

DETACHED = 130
POLL_S = 2.0
# A large ledger takes seconds to list: then it is looked at less often.
READING_SHARE = 0.1
# Until when a run without a driver counts as given up (a lease ends 15 s after its holder died, the next driver has to
# start), one that nobody has begun yet as never to begin, and a storage that does not answer as gone.
SETTLE_S = 60.0
BEGIN_S = 1800.0
AWAY_S = 300.0

MEANINGS = {
    0: "all committed, or as many as --max-failed asks for",
    1: "some rows rejected or failed, or the run cancelled",
    2: "the call could not be used",
    Interrupted.exit_code: f"interrupted; {AGAIN}",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchCall:
    """`wanfarm watch` as it was called."""

    out: str
    run_id: str | None
    address: str | None
    max_failed: FailureBudget


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """What can be seen of a run at one moment; each part None where it is not there (yet)."""

    run: RunProgress | None
    job: FarmJob | None

    @property
    def is_alive(self) -> bool:
        """Whether something drives it, or is about to."""
        has_driver = self.run is not None and self.run.driver is not None
        return has_driver or (self.job is not None and self.job.is_unfinished)

    @property
    def is_settled(self) -> bool:
        """Whether nothing more will come of it unless somebody asks."""
        return self.run is not None and self.run.state in ("ended", "cancelled")


def watch_run(call: WatchCall, *, as_json: bool) -> int:
    """The run's exit code, or 130 where the watching was interrupted. UsageError where it is not clear which run."""
    settings = Settings.from_env()
    jobs = None if call.address is None else connect(call.address)
    try:
        out, run_id = _chosen(call, settings)
        watch = Watch(out, run_id, jobs=jobs)
        with progress_display() as display:
            sight = watch.follow(display)
    except KeyboardInterrupt:
        say(["", "detached; the run goes on"])
        return DETACHED
    code = code_of(out, sight, call.max_failed)
    facts = _facts(out, run_id, sight, code)
    if as_json:
        say_json(facts)
        return code
    say(_lines(facts, sight))
    if jobs is not None and sight.job is not None and code not in (0, 1):
        say(_log_of(jobs, sight.job))
    return code


class Watch:
    """Looks at one run until it ends. `sleep` and `clock` are real time."""

    def __init__(
        self,
        out: Storage,
        run_id: str,
        *,
        jobs: RayJobs | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._out = out
        self._run_id = run_id
        self._jobs = jobs
        self._clock = clock
        self._sleep = sleep
        self._alive_s = self._seen_s = clock()
        self._told = ""

    def follow(self, display: Display) -> Sight:
        """The last that is seen of the run. TransientError or StorageError where nothing is seen for minutes."""
        while True:
            begun_s = self._clock()
            sight = self._look(display)
            if sight is not None and self._has_ended(sight, display):
                return sight
            self._sleep(max(POLL_S, (self._clock() - begun_s) / READING_SHARE))

    def _look(self, display: Display) -> Sight | None:
        """None where it cannot be seen now."""
        try:
            # The job first: one that has ended has left everything in the storage.
            job = None if self._jobs is None else newest_of(self._jobs.jobs_of(self._run_id), self._run_id)
            runs = read_progress(self._out, run_id=self._run_id).runs
        except (StorageError, TransientError) as error:
            if self._clock() - self._seen_s > AWAY_S:
                raise
            self._tell(display, f"{error}; looking again")
            return None
        self._seen_s = self._clock()
        return Sight(run=runs[0] if runs else None, job=job)

    def _has_ended(self, sight: Sight, display: Display) -> bool:
        self._tell(display, _state_of(sight))
        if sight.run is not None:
            display.tick(_Read(sight.run))
        if sight.is_alive:
            self._alive_s = self._clock()
            return False
        if sight.is_settled or sight.job is not None:
            return True
        return self._clock() - self._alive_s > (SETTLE_S if sight.run is not None else BEGIN_S)

    def _tell(self, display: Display, text: str) -> None:
        """What is new."""
        if text != self._told:
            self._told = text
            display.note(text)


class _Read(Tally):
    """Counts and speed as they were read."""

    def __init__(self, run: RunProgress) -> None:
        super().__init__(total=run.num_clips, done=run.num_done, failed=run.num_failed)
        self._clips_per_minute = run.clips_per_minute

    @property
    def clips_per_minute(self) -> float | None:
        return self._clips_per_minute


def code_of(out: Storage, sight: Sight, budget: FailureBudget) -> int:
    """What the driver ended with, where its job tells; else what it would have, by what it left behind.

    A job may be older than what somebody else made of the run since: it is believed as far as the storage agrees.
    """
    run, code = sight.run, None if sight.job is None else sight.job.exit_code
    if run is None or not sight.is_settled:
        return UsageError.exit_code if code == UsageError.exit_code else Interrupted.exit_code
    if code in (0, 1):
        return code
    if run.num_pending:  # cancelled before its end
        return 1
    counts = count_statuses(out, run.card.run_id)
    num_bad = run.num_failed + run.card.num_rejected if counts is None else counts["failed"] + counts["rejected"]
    return 0 if budget.allows(num_bad, num_rows=run.card.num_rows) else 1


def _chosen(call: WatchCall, settings: Settings) -> tuple[Storage, str]:
    """A run that is named need not have begun."""
    if call.run_id is not None:
        return open_output(call.out, settings), call.run_id
    out = existing_output(call.out, settings)
    driven = [run.card.run_id for run in read_progress(out).runs if run.driver is not None]
    return out, driven[0] if len(driven) == 1 else chosen_card(out, None).run_id


def _state_of(sight: Sight) -> str:
    run, job = sight.run, sight.job
    of_job = "" if job is None else f"; job {job.name}: {_told_of(job)}"
    if run is None:
        return f"not begun yet{of_job}"
    if run.stop is not None:
        return f"{run.stop}{of_job}"
    return f"{run.state}{of_job}"


def _told_of(job: FarmJob) -> str:
    """Ray calls everything but 0 a failure; the exit code tells which of them it was."""
    if job.exit_code is None:
        return job.status
    return f"{job.status}, exit code {job.exit_code} ({MEANINGS.get(job.exit_code, 'ended from outside')})"


def _facts(out: Storage, run_id: str, sight: Sight, code: int) -> dict[str, Any]:
    run, job = sight.run, sight.job
    report = f"{run_folder(run_id)}/report.html"
    facts: dict[str, Any] = {"out": out.uri, "run_id": run_id, "exit_code": code, "state": "not begun"}
    facts["job"] = None if job is None else {"name": job.name, "status": job.status, "exit_code": job.exit_code}
    if run is None:
        return facts
    return {
        **facts,
        "state": run.state,
        "clips": run.num_clips,
        "done": run.num_done,
        "failed": run.num_failed,
        "pending": run.num_pending,
        "rejected": run.card.num_rejected,
        "report": out.uri_of(report) if out.exists(report) else None,
    }


def _lines(facts: dict[str, Any], sight: Sight) -> Iterator[str]:
    counts = "" if sight.run is None else f"; {_Read(sight.run)}"
    yield f"run {facts['run_id']}: {facts['state']}{counts}"
    yield from () if sight.job is None else (f"job {sight.job.name}: {_told_of(sight.job)}",)
    yield from (f"report: {facts['report']}",) if facts.get("report") else ()
    if facts["exit_code"] == Interrupted.exit_code:
        yield "its driver is gone and clips remain: submit or render it again to go on"


def _log_of(jobs: RayJobs, job: FarmJob) -> Iterator[str]:
    """What the job said last; a cluster that does not answer any more has said enough."""
    with suppress(JobsApiError):
        yield from ("the end of its log:", *(f"  {line}" for line in jobs.log_tail(job.name)))
