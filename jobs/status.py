"""`wanfarm status`: how far the runs of an output are, from what lies in storage alone."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

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
    head = ("run", "manifest", "model", "clips", "done", "failed", "pending", "rejected", "driven by")
    rows = [tuple(str(run[key] if run[key] is not None else "-") for key in _KEYS) for run in runs]
    say([f"{out.uri}: {found['committed']} clips committed, {found['failed']} given up"])
    say(aligned([head, *rows]) if rows else ["no runs"])
    return 0


_KEYS = ("run_id", "manifest", "model", "clips", "done", "failed", "pending", "rejected", "driver")


def _status(out: Storage, card: RunCard, *, committed: set[str], failed: set[str]) -> dict[str, Any]:
    clips = _clip_ids(out, card.run_id)
    done = clips & committed
    given_up = (clips - done) & failed
    holder = RunLease(out, card.run_id).held_by()
    return {
        "run_id": card.run_id,
        "manifest": card.manifest_uri,
        "model": card.model_name,
        "rows": card.num_rows,
        "rejected": card.num_rejected,
        "clips": len(clips),
        "done": len(done),
        "failed": len(given_up),
        "pending": len(clips) - len(done) - len(given_up),
        "driver": None if holder is None else f"{holder.host}:{holder.pid}",
    }


def _clip_ids(out: Storage, run_id: str) -> set[str]:
    try:
        data = out.read(f"{run_folder(run_id)}/rows.parquet")
    except NotFoundError:
        return set()
    return set(pq.read_table(pa.BufferReader(data), columns=["clip_id"])["clip_id"].to_pylist())
