"""`wanfarm status`: how far the runs of an output are, from what lies in storage alone."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from farm.control import Command, standing_stop
from farm.errors import NotFoundError
from farm.ledger import RunLease, committed_ids, failed_ids
from farm.plan import run_folder
from farm.settings import Settings
from farm.storage import Storage
from jobs.opening import existing_output
from jobs.printing import aligned, say, say_json
from jobs.run_facts import RunCard, read_cards


def show_status(out_uri: str, *, as_json: bool) -> int:
    """0. UsageError where nothing was ever rendered."""
    out = existing_output(out_uri, Settings.from_env())
    committed, failed = committed_ids(out), failed_ids(out)
    runs = [_status(out, card, committed=committed, failed=failed) for card in read_cards(out)]
    found = {"out": out.uri, "committed": len(committed), "failed": len(failed - committed), "runs": runs}
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


def _status(out: Storage, card: RunCard, *, committed: set[str], failed: set[str]) -> dict[str, Any]:
    clips = _clip_ids(out, card.run_id)
    done = clips & committed
    given_up = (clips - done) & failed
    num_pending = len(clips) - len(done) - len(given_up)
    holder, stop = RunLease(out, card.run_id).held_by(), standing_stop(out, card.run_id)
    return {
        "run_id": card.run_id,
        "manifest": card.manifest_uri,
        "model": card.model_name,
        "rows": card.num_rows,
        "rejected": card.num_rejected,
        "clips": len(clips),
        "done": len(done),
        "failed": len(given_up),
        "pending": num_pending,
        "state": _state(stop, num_pending=num_pending, is_driven=holder is not None),
        "stop": None if stop is None else {"action": stop.action, "by": stop.by, "at": stop.at},
        "driver": None if holder is None else f"{holder.host}:{holder.pid}",
    }


def _state(stop: Command | None, *, num_pending: int, is_driven: bool) -> str:
    """paused and cancelled are what someone wished; the rest is what can be seen."""
    if stop is not None:
        return stop.state
    if is_driven:
        return "running"
    return "interrupted" if num_pending else "ended"


def _clip_ids(out: Storage, run_id: str) -> set[str]:
    try:
        data = out.read(f"{run_folder(run_id)}/rows.parquet")
    except NotFoundError:
        return set()
    return set(pq.read_table(pa.BufferReader(data), columns=["clip_id"])["clip_id"].to_pylist())
