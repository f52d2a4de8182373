"""The ledger: what is done, what was given up, and who may drive a run. It lies in the output itself."""

from __future__ import annotations

from farm.ledger.attempts import Attempt, clear_attempts, count_attempts, note_attempt, read_attempts
from farm.ledger.commit import Artifacts, Commit, commit_clip, read_record
from farm.ledger.failures import (
    DeadLetter,
    clear_failure,
    failed_ids,
    read_failure,
    read_failures,
    reproducing_command,
    write_failure,
)
from farm.ledger.garbage import Garbage, collect_garbage, find_garbage
from farm.ledger.holding import Holders
from farm.ledger.index import committed_ids, compact, read_records
from farm.ledger.lease import Lease, RunLease
from farm.ledger.ledger import Ledger
from farm.ledger.states import KeptState, Turn, begin_clip, kept_states

__all__ = [
    "Artifacts",
    "Attempt",
    "Commit",
    "DeadLetter",
    "Garbage",
    "Holders",
    "KeptState",
    "Lease",
    "Ledger",
    "RunLease",
    "Turn",
    "begin_clip",
    "clear_attempts",
    "clear_failure",
    "collect_garbage",
    "commit_clip",
    "committed_ids",
    "compact",
    "count_attempts",
    "failed_ids",
    "find_garbage",
    "kept_states",
    "note_attempt",
    "read_attempts",
    "read_failure",
    "read_failures",
    "read_record",
    "read_records",
    "reproducing_command",
    "write_failure",
]
