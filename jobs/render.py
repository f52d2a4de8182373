"""`wanfarm render`: plan, drive until nothing remains, then derive results and report."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from farm.control import refuse_if_cancelled
from farm.cost import Fleet
from farm.degrees import Demand
from farm.errors import Interrupted, OutputError, StorageError, TransientError, UsageError
from farm.ledger import RunLease
from farm.logs import fields, log_context
from farm.models import chosen_model
from farm.plan import Plan, plan_run
from farm.results import Totals
from farm.run_facts import card_of, write_card
from farm.settings import Settings
from farm.traces import run_trace_id, spans
from jobs.calibrating import write_speeds
from jobs.calls import FailureBudget, RenderCall
from jobs.opening import open_output, options_of
from jobs.printing import say
from jobs.progress import Tally
from jobs.running import NOTHING_DRIVEN, Driven, drive_segments, finish_run, layout_for, stoppable
from jobs.session import machine_at, refuse_if_absent
from jobs.signals import Drain
from jobs.summary import planned_lines
from jobs.summoning import with_promised

_LOG = logging.getLogger(__name__)


def render_manifest(call: RenderCall) -> int:
    """The command's exit code. Errors as drawn in `farm.errors`."""
    return stoppable(_Render(call).run, call.execution)


class _Render:
    """One call, from manifest to summary."""

    def __init__(self, call: RenderCall) -> None:
        self._call = call
        self._begun_s = time.monotonic()
        self._settings = Settings.from_env()
        self._out = open_output(call.out, self._settings)

    def run(self, drain: Drain) -> int:
        if self._call.execution.address is not None:
            refuse_if_absent(self._call.execution.address)
        begun_s = time.time()
        with ExitStack() as held:
            plan, lease = self._plan(held)
            card = card_of(plan)
            write_card(self._out, card)
            held.enter_context(log_context(run_id=plan.run_id))
            _tell_planned(plan, begun_s=begun_s)
            say(planned_lines(plan, rejected_uri=self._out.uri_of(plan.rejected_path)))
            driven = self._drive(plan, lease, drain) if plan.num_remaining else NOTHING_DRIVEN
            totals = finish_run(self._out, card, settings=self._settings, begun_s=self._begun_s, driven=driven)
        return exit_code(totals, self._call.max_failed)

    def _plan(self, held: ExitStack) -> tuple[Plan, RunLease]:
        """The plan, with the run's lease taken on the way."""
        call, leases = self._call, list[RunLease]()

        def claim(run_id: str) -> None:
            _refuse_another(run_id, expected=call.expect_run)
            refuse_if_cancelled(self._out, run_id)
            self._out.probe_writable()
            leases.append(held.enter_context(RunLease(self._out, run_id)))

        with _explaining_the_output():
            plan = plan_run(
                call.manifest,
                model=chosen_model(call.asked.model, self._settings),
                options=options_of(call.asked),
                settings=self._settings,
                out=self._out,
                fleet=self._fleet,
                strict=call.asked.strict,
                keep_columns=call.asked.keep_columns,
                claim=claim,
            )
        return plan, leases[0]

    def _fleet(self, demands: Sequence[Demand]) -> Fleet:
        """Of the cluster to join, or of this machine."""
        execution = self._call.execution
        machine = with_promised(machine_at(execution.address), execution.gpus)
        return layout_for(machine, demands, execution, self._settings).fleet

    def _drive(self, plan: Plan, lease: RunLease, drain: Drain) -> Driven:
        """Render what remains. Only here Ray comes in."""
        driven = drive_segments(
            self._out,
            lease,
            plan.segments,
            settings=self._settings,
            execution=self._call.execution,
            tally=Tally(total=plan.num_clips, done=plan.num_done, failed=plan.num_failed),
            drain=drain,
            demands=plan.demands,
        )
        write_speeds(self._out, driven, card=plan.model.card)
        return driven


def _refuse_another(run_id: str, *, expected: str | None) -> None:
    """UsageError where what was submitted elsewhere would be another run here."""
    if expected not in (None, run_id):
        raise UsageError(
            f"this would be run {run_id}, not {expected}: manifest, model, flags or wanfarm's version "
            "are not what they were where it was submitted"
        )


def _tell_planned(plan: Plan, *, begun_s: float) -> None:
    counts = {"clips": plan.num_clips, "done": plan.num_done, "failed": plan.num_failed, "rejected": plan.num_rejected}
    origin = {"manifest": plan.manifest_uri, "model": plan.model.name}
    facts = {**origin, "rows": plan.num_rows, **counts}
    _LOG.info("run planned", extra=fields(**facts))
    if (found := spans()) is not None:
        known = {"run_id": plan.run_id, **facts}
        found.tell("plan", trace_id=run_trace_id(plan.run_id), begun_s=begun_s, facts=known)


@contextmanager
def _explaining_the_output() -> Iterator[None]:
    """Before a run has begun, a storage that refuses (and not only for now) makes the call unusable."""
    try:
        yield
    except TransientError:
        raise
    except StorageError as error:
        raise OutputError(f"the output cannot be used: {error}") from error


def exit_code(totals: Totals, budget: FailureBudget) -> int:
    """0 or 1 (1 also of a cancelled run that left rows). Interrupted where rows are still pending."""
    rows = totals.rows
    if rows["pending"]:
        raise Interrupted(f"{rows['pending']} rows are still pending; run the same command again")
    if rows["cancelled"]:
        return 1
    return 0 if budget.allows(rows["rejected"] + rows["failed"], num_rows=sum(rows.values())) else 1
