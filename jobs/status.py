"""`wanfarm status`: how far the runs of an output are, from what lies in storage alone."""

from __future__ import annotations

from typing import Any

from farm.run_progress import RunProgress, read_progress
from farm.settings import Settings
from jobs.opening import existing_output
from jobs.printing import aligned, say, say_json


def show_status(out_uri: str, *, as_json: bool) -> int:
    """0. UsageError where nothing was ever rendered."""
    out = existing_output(out_uri, Settings.from_env())
    progress = read_progress(out)
    runs = [_status(run) for run in progress.runs]
    found = {"out": out.uri, "committed": progress.num_committed, "failed": progress.num_failed, "runs": runs}
    if as_json:
        say_json(found)
        return 0
    head = ("run", "manifest", "model", "clips", "done", "failed", "pending", "rejected", "state", "driven by")
    rows = [tuple(str(run[key] if run[key] is not None else "-") for key in _KEYS) for run in runs]
    say([f"{out.uri}: {found['committed']} clips committed, {found['failed']} given up"])
    say(aligned([head, *rows]) if rows else ["no runs"])
    say(
        f"run {run['run_id']}: {run['state']} by {run['stop']['by']} at {run['stop']['at']}"
        for run in runs
        if run["stop"]
    )
    return 0


_KEYS = ("run_id", "manifest", "model", "clips", "done", "failed", "pending", "rejected", "state", "driver")


def _status(run: RunProgress) -> dict[str, Any]:
    card, stop, driver = run.card, run.stop, run.driver
    return {
        "run_id": card.run_id,
        "manifest": card.manifest_uri,
        "model": card.model_name,
        "rows": card.num_rows,
        "rejected": card.num_rejected,
        "clips": run.num_clips,
        "done": run.num_done,
        "failed": run.num_failed,
        "pending": run.num_pending,
        "state": run.state,
        "stop": None if stop is None else {"action": stop.action, "by": stop.by, "at": stop.at},
        "driver": None if driver is None else f"{driver.host}:{driver.pid}",
    }
