"""The two halves that rendering and retrying share: drive segments on Ray, then derive what a run leaves behind."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from farm.ledger import RunLease, compact
from farm.report import RunFacts, write_report
from farm.results import Totals, write_results
from farm.settings import Settings
from farm.storage import Storage
from farm.workers.workbench import clear_bench
from jobs.calls import Execution
from jobs.fleet import Layout, Machine, lay_out
from jobs.printing import say
from jobs.progress import Tally, progress_display
from jobs.run_facts import RunCard
from jobs.session import RayLostError, leave_at_once, ray_session
from jobs.shared_output import check_shared
from jobs.signals import Drain, drained_by_signals
from jobs.summary import summary_lines

if TYPE_CHECKING:
    from jobs.drive import Drive


def layout_for(machine: Machine, execution: Execution, settings: Settings, *, host_bytes: int) -> Layout:
    """Workers and threads by flags, else by settings, else as they fit."""
    threads = execution.threads or settings.threads
    return lay_out(machine, threads=threads, workers=execution.workers, host_bytes=host_bytes)


def drive_segments(
    out: Storage,
    lease: RunLease,
    segments: Sequence[str],
    *,
    settings: Settings,
    execution: Execution,
    tally: Tally,
    drain: Drain,
    host_bytes: int,
) -> Drive:
    """Render what remains of the segments. Raises what `Drive.run` raises."""
    # Brings in Ray, a second that a run with nothing to do is spared.
    from jobs.drive import Drive

    with ray_session(execution.address) as session, progress_display() as display:
        drain.listen()  # Ray took SIGTERM
        if session.machine.num_nodes > 1:
            check_shared(out, lease.run_id)
        drive = Drive(
            out=out,
            run_id=lease.run_id,
            segments=segments,
            settings=settings,
            session=session,
            layout=layout_for(session.machine, execution, settings, host_bytes=host_bytes),
            lease=lease,
            drain=drain,
            tally=tally,
            display=display,
        )
        with drain.patiently():
            drive.run()
    clear_bench(out.uri, lease.run_id, epoch=lease.epoch)
    return drive


def finish_run(out: Storage, card: RunCard, *, settings: Settings, begun_s: float, num_rendered: int) -> Totals:
    """Results, report and index from the ledger, the same whoever rendered the clips; says the summary."""
    compact(out)
    totals = write_results(out, card.run_id)
    facts = RunFacts(
        run_id=card.run_id,
        manifest_uri=card.manifest_uri,
        model_name=card.model_name,
        finished_at=datetime.now(UTC).isoformat(timespec="seconds"),
        wall_seconds=time.monotonic() - begun_s,
        num_rendered=num_rendered,
        currency=settings.currency,
    )
    report = write_report(out, facts, totals=totals)
    say(summary_lines(totals, facts, report_uri=out.uri_of(report)))
    return totals


def stoppable(command: Callable[[Drain], int], execution: Execution) -> int:
    """The command's exit code, with signals listened to from its first moment.

    Where its Ray died, this process ends here, for Ray's own farewell would hang.
    """
    try:
        with drained_by_signals(grace_s=execution.grace) as drain:
            return command(drain)
    except RayLostError as error:
        sys.stderr.write(f"wanfarm: {error}\n")
        leave_at_once(error.exit_code)
