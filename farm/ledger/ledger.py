"""The ledger of one output as planning sees it: two sets of ids."""

from __future__ import annotations

from dataclasses import dataclass

from farm.ledger.failures import failed_ids
from farm.ledger.index import committed_ids
from farm.storage.base import Storage


@dataclass(frozen=True, slots=True)
class Ledger:
    """What is settled in an output. Each call looks anew."""

    storage: Storage

    def committed(self) -> set[str]:
        """Clips that have a record."""
        return committed_ids(self.storage)

    def failures(self) -> set[str]:
        """Clips that were given up."""
        return failed_ids(self.storage)
