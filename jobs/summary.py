"""What `wanfarm render` says before and after: plain lines, the same on a terminal and in a log."""

from __future__ import annotations

from farm.cost import Fleet
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
        lines.append(f"about {duration(seconds)} on {devices_of(plan.fleet)} ({basis})")
    lines += [] if plan.fleet.fits else [f"warning: {reason}" for reason in plan.fleet.reasons[:1]]
    return lines


def devices_of(fleet: Fleet) -> str:
    """ "8 x nvidia-h100", or "2 gangs of 4 x nvidia-h100"."""
    degree = fleet.parallel.degree
    if degree == 1:
        return f"{fleet.num_actors} x {fleet.device}"
    return f"{counted(fleet.num_actors, 'gang')} of {degree} x {fleet.device}"


def summary_lines(
    totals: Totals, facts: RunFacts, *, report_uri: str, lost_steps: tuple[int, int] = (0, 0)
) -> list[str]:
    """A table of the run and the path of its report. `lost_steps`: denoising steps done again, of how many."""
    rows = totals.rows
    figures = [("committed", str(rows["committed"])), ("failed", str(rows["failed"]))]
    figures += [("rejected", str(rows["rejected"]))]
    for status in ("pending", "cancelled"):
        figures += [(status, str(rows[status]))] if rows[status] else []
    figures += [
        ("rendered now", f"{facts.num_rendered} in {duration(facts.wall_seconds)}"),
        ("video", f"{totals.video_seconds:.1f} s, {totals.size_bytes / 1e6:.1f} MB"),
        ("device time", duration(totals.device_seconds)),
    ]
    if totals.cost is not None:
        figures.append(("cost", f"{totals.cost:.4f} {facts.currency}"))
    if lost_steps[0]:
        figures.append(("steps", f"{lost_steps[0]} of {lost_steps[1]} computed twice"))
    figures += [(f"  {stage}", f"{seconds:.1f} s") for stage, seconds in totals.stage_seconds.items()]
    figures += [(f"  {name}", counted(count, "row")) for name, count in totals.errors.items()]
    return ["", *aligned(figures), "", f"report: {report_uri}"]
