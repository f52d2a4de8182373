"""The ledger: what is done, what was given up, and who may drive a run. It lies in the output itself."""

from __future__ import annotations

from farm.ledger.attempts import clear_attempts, count_attempts, note_attempt
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
from farm.ledger.index import committed_ids, compact, read_records
from farm.ledger.lease import RunLease
from farm.ledger.ledger import Ledger

__all__ = [
    "Artifacts",
    "Commit",
    "DeadLetter",
    "Garbage",
    "Ledger",
    "RunLease",
    "clear_attempts",
    "clear_failure",
    "collect_garbage",
    "commit_clip",
    "committed_ids",
    "compact",
    "count_attempts",
    "failed_ids",
    "find_garbage",
    "note_attempt",
    "read_failure",
    "read_failures",
    "read_record",
    "read_records",
    "reproducing_command",
    "write_failure",
]
