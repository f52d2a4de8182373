"""What `wanfarm render` says before and after: plain lines, the same on a terminal and in a log."""

from __future__ import annotations

from farm.plan import Plan
from farm.report import RunFacts
from farm.results import Totals
from jobs.printing import aligned, counted
from jobs.progress import duration


def planned_lines(plan: Plan, *, rejected_uri: str | None) -> list[str]:
    """The run in a few lines, faults of rows among them."""
    lines = [
        f"run {plan.run_id}: {counted(plan.num_rows, 'row')}, {counted(plan.num_clips, 'clip')} of {plan.model.name}: "
        f"{plan.num_done} done, {plan.num_failed} failed before, {plan.num_remaining} to render"
    ]
    if plan.num_rejected:
        lines.append(f"{counted(plan.num_rejected, 'row')} rejected{f' ({rejected_uri})' if rejected_uri else ''}:")
        lines += [
            f"  row {row}{f' ({name})' if name else ''}: {'; '.join(faults)}" for row, name, faults in plan.rejected
        ]
        more = plan.num_rejected - len(plan.rejected)
        lines += [f"  and {more} more"] if more else []
    lines += [f"warning: {text} ({counted(count, 'row')})" for text, count in plan.warnings.items()]
    seconds = plan.estimate.wall_seconds
    if plan.num_remaining and seconds is not None:
        basis = "measured" if plan.estimate.is_measured else "a guess before the first run"
        lines.append(f"about {duration(seconds)} on {plan.estimate.num_actors} x {plan.estimate.device} ({basis})")
    return lines


def summary_lines(totals: Totals, facts: RunFacts, *, report_uri: str) -> list[str]:
    """A table of the run and the path of its report."""
    rows = totals.rows
    figures = [("committed", str(rows["committed"])), ("failed", str(rows["failed"]))]
    figures += [("rejected", str(rows["rejected"]))]
    figures += [("pending", str(rows["pending"]))] if rows["pending"] else []
    figures += [
        ("rendered now", f"{facts.num_rendered} in {duration(facts.wall_seconds)}"),
        ("video", f"{totals.video_seconds:.1f} s, {totals.size_bytes / 1e6:.1f} MB"),
        ("device time", duration(totals.device_seconds)),
    ]
    if totals.cost is not None:
        figures.append(("cost", f"{totals.cost:.4f} {facts.currency}"))
    figures += [(f"  {stage}", f"{seconds:.1f} s") for stage, seconds in totals.stage_seconds.items()]
    figures += [(f"  {name}", counted(count, "row")) for name, count in totals.errors.items()]
    return ["", *aligned(figures), "", f"report: {report_uri}"]
