"""`wanfarm render`: plan, drive until nothing remains, then derive results and report."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from farm.errors import Interrupted
from farm.ledger import RunLease, compact
from farm.plan import Plan, plan_run
from farm.report import RunFacts, write_report
from farm.results import Totals, write_results
from farm.settings import Settings
from jobs.calls import RenderCall
from jobs.fleet import Layout, Machine, lay_out, this_machine
from jobs.opening import chosen_model, open_output, options_of
from jobs.session import RayLostError, leave_at_once
from jobs.summary import planned_lines, summary_lines

if TYPE_CHECKING:
    pass


def render_manifest(call: RenderCall) -> int:
    """The command's exit code. Errors as drawn in `farm.errors`."""
    try:
        return _Render(call).run()
    except RayLostError as error:
        # Ray's own farewell would wait for its dead cluster.
        sys.stderr.write(f"wanfarm: {error}\n")
        leave_at_once(error.exit_code)


class _Render:
    """One call, from manifest to summary."""

    def __init__(self, call: RenderCall) -> None:
        self._call = call
        self._begun_s = time.monotonic()
        self._settings = Settings.from_env()
        self._out = open_output(call.out, self._settings)

    def run(self) -> int:
        with ExitStack() as held:
            plan, lease = self._plan(held)
            _say(planned_lines(plan, self._out))
            num_rendered = self._drive(plan, lease) if plan.num_remaining else 0
            totals = self._finish(plan, num_rendered)
        return self._exit_code(totals)

    def _plan(self, held: ExitStack) -> tuple[Plan, RunLease]:
        """The plan, with the run's lease taken on the way."""
        call, leases = self._call, list[RunLease]()

        def claim(run_id: str) -> None:
            self._out.probe_writable()
            leases.append(held.enter_context(RunLease(self._out, run_id)))

        plan = plan_run(
            call.manifest,
            model=chosen_model(call.asked.model, self._settings),
            options=options_of(call.asked),
            settings=self._settings,
            out=self._out,
            fleet=self._layout(this_machine(), host_bytes=0).fleet,
            strict=call.asked.strict,
            keep_columns=call.asked.keep_columns,
            claim=claim,
        )
        return plan, leases[0]

    def _layout(self, machine: Machine, *, host_bytes: int) -> Layout:
        asked = self._call.execution
        threads = asked.threads or self._settings.threads
        return lay_out(machine, threads=threads, workers=asked.workers, host_bytes=host_bytes)

    def _drive(self, plan: Plan, lease: RunLease) -> int:
        """Render what remains; how many clips that were. Only here Ray comes in."""
        from jobs.calibrating import write_speeds
        from jobs.drive import Drive
        from jobs.progress import Tally, progress_display
        from jobs.session import ray_session
        from jobs.signals import drained_by_signals

        execution = self._call.execution
        with (
            ray_session(execution.address) as session,
            drained_by_signals(grace_s=execution.grace) as drain,
            progress_display() as display,
        ):
            layout = self._layout(session.machine, host_bytes=plan.estimate.memory.host_bytes)
            drive = Drive(
                out=self._out,
                run_id=plan.run_id,
                segments=plan.segments,
                settings=self._settings,
                session=session,
                layout=layout,
                lease=lease,
                drain=drain,
                tally=Tally(total=plan.num_clips, done=plan.num_done, failed=plan.num_failed),
                display=display,
            )
            drive.run()
        write_speeds(self._out, drive.rendered, card=plan.model.card, load_seconds=drive.load_seconds)
        return len(drive.rendered)

    def _finish(self, plan: Plan, num_rendered: int) -> Totals:
        """Results, report and index from the ledger: the same whoever rendered the clips, and when."""
        compact(self._out)
        totals = write_results(self._out, plan.run_id)
        facts = RunFacts(
            run_id=plan.run_id,
            manifest_uri=plan.manifest_uri,
            model_name=plan.model.name,
            finished_at=datetime.now(UTC).isoformat(timespec="seconds"),
            wall_seconds=time.monotonic() - self._begun_s,
            num_rendered=num_rendered,
            currency=self._settings.currency,
        )
        report = write_report(self._out, facts, totals=totals)
        _say(summary_lines(totals, facts, report_uri=self._out.uri_of(report)))
        return totals

    def _exit_code(self, totals: Totals) -> int:
        rows = totals.rows
        if rows["pending"]:
            raise Interrupted(f"{rows['pending']} rows are still pending; run the same command again")
        num_bad = rows["rejected"] + rows["failed"]
        return 0 if self._call.max_failed.allows(num_bad, num_rows=sum(rows.values())) else 1


def _say(lines: Sequence[str]) -> None:
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()
