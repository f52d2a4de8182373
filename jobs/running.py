"""The two halves that rendering and retrying share: drive segments on Ray, then derive what a run leaves behind."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from farm.degrees import Demand
from farm.errors import UsageError
from farm.ledger import RunLease, compact
from farm.logs import fields, log_context
from farm.parallelism import ONE_RANK, ParallelPlan
from farm.report import RunFacts, write_report
from farm.results import Totals, write_results
from farm.run_facts import RunCard
from farm.settings import Settings
from farm.storage import Storage
from farm.traces import begin_spans, end_spans, run_origin, spans
from farm.workers.workbench import clear_bench
from jobs.calls import Execution
from jobs.exporter import Measured, run_gauges
from jobs.fleet import Layout, Machine, lay_out
from jobs.printing import complain, say
from jobs.progress import Tally, lines, progress_display
from jobs.session import RayLostError, leave_at_once, ray_session
from jobs.shared_output import check_shared
from jobs.signals import Drain, drained_by_signals
from jobs.stops import ControlWatch
from jobs.summary import summary_lines

if TYPE_CHECKING:
    from jobs.drive import Drive, Rendered


@dataclass(frozen=True, slots=True, kw_only=True)
class Driven:
    """What a drive got done. `num_steps` and `lost_steps`: denoised in all, and of those more than once."""

    rendered: Sequence[Rendered] = ()
    load_seconds: float = 0.0
    parallel: ParallelPlan = ONE_RANK
    num_failed: int = 0
    num_steps: int = 0
    lost_steps: int = 0


NOTHING_DRIVEN = Driven()

_LOG = logging.getLogger(__name__)


def layout_for(machine: Machine, demands: Sequence[Demand], execution: Execution, settings: Settings) -> Layout:
    """Gangs and threads by flags, else by settings, else as they fit."""
    threads = execution.threads or settings.threads
    return lay_out(machine, demands, wanted=execution.degrees.wanted, threads=threads, workers=execution.workers)


def drive_segments(
    out: Storage,
    lease: RunLease,
    segments: Sequence[str],
    *,
    settings: Settings,
    execution: Execution,
    tally: Tally,
    drain: Drain,
    demands: Sequence[Demand],
) -> Driven:
    """Render what remains of the segments, unless the run is cancelled. Raises what `Drive.run` raises."""
    with ControlWatch(out, lease.run_id) as control:
        control.wait_while_paused(note=lines().note, check=lease.check)
        if control.is_cancelled:
            return Driven()
        # Brings in Ray, a second that a run with nothing to do is spared, and one that is paused as well.
        from jobs.drive import Drive
        from jobs.guarded import Guards

        port = execution.metrics_port
        with (
            run_gauges(out, lease.run_id, port=port) as gauges,
            ray_session(execution.address, metrics_port=None if port is None else port + 1) as session,
            progress_display() as plain_display,
        ):
            display = Measured(plain_display, gauges)
            drain.listen()  # Ray took SIGTERM
            if execution.gpus is not None:
                session.summon(execution.gpus, note=display.note)
            if session.machine.num_nodes > 1:
                check_shared(out, lease.run_id)
            drive = Drive(
                out=out,
                run_id=lease.run_id,
                segments=segments,
                settings=settings,
                layout=layout_for(session.machine, demands, execution, settings),
                guards=Guards(session=session, lease=lease, drain=drain, control=control, display=display),
                tally=tally,
            )
            with drain.patiently(), log_context(run_id=lease.run_id):
                _run(drive, epoch=lease.epoch)
    clear_bench(out.uri, lease.run_id, epoch=lease.epoch)
    return drive.driven


def _run(drive: Drive, *, epoch: int) -> None:
    """Drive, and tell of it."""
    layout, begun_s, begun_at_s = drive.layout, time.monotonic(), time.time()
    gangs = {"gangs": layout.num_workers, "degree": layout.parallel.degree, "device": layout.device}
    _LOG.info("run begun", extra=fields(epoch=epoch, **gangs))
    ended = "run interrupted"
    try:
        drive.run()
        ended = "run ended"
    finally:
        counts = {"rendered": len(drive.rendered), "done": drive.tally.done, "failed": drive.tally.failed}
        _LOG.info(ended, extra=fields(seconds=round(time.monotonic() - begun_s, 3), **counts))
        if (found := spans()) is not None:
            trace_id, span_id = run_origin(drive.run_id, epoch=epoch)
            facts = {"run_id": drive.run_id, "epoch": epoch, "status": ended, **gangs, **counts}
            found.tell("run", trace_id=trace_id, span_id=span_id, begun_s=begun_at_s, facts=facts)


def finish_run(
    out: Storage, card: RunCard, *, settings: Settings, begun_s: float, driven: Driven = NOTHING_DRIVEN
) -> Totals:
    """Results, report and index from the ledger, the same whoever rendered the clips; says the summary."""
    compact(out)
    totals = write_results(out, card.run_id)
    facts = RunFacts(
        run_id=card.run_id,
        manifest_uri=card.manifest_uri,
        model_name=card.model_name,
        finished_at=datetime.now(UTC).isoformat(timespec="seconds"),
        wall_seconds=time.monotonic() - begun_s,
        num_rendered=len(driven.rendered),
        currency=settings.currency,
    )
    report = write_report(out, facts, totals=totals)
    steps = (driven.lost_steps, driven.num_steps)
    say(summary_lines(totals, facts, report_uri=out.uri_of(report), lost_steps=steps))
    return totals


def stoppable(command: Callable[[Drain], int], execution: Execution) -> int:
    """The command's exit code, with signals listened to from its first moment.

    Where its Ray died, this process ends here, for Ray's own farewell would hang.
    """
    execution.check()
    try:
        begin_spans(Settings.from_env().traces, role="command")
    except UsageError as error:  # the address may be another program's: no reason to render nothing
        complain(str(error))
    try:
        with drained_by_signals(grace_s=execution.grace) as drain:
            return command(drain)
    except RayLostError as error:
        complain(str(error))
        end_spans()
        leave_at_once(error.exit_code)
    finally:
        end_spans()
