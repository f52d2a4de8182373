"""report.html: a run as one static page, a contact sheet that plays.

It asks for nothing but the clips and pictures beside it, so it works from a disk and from object storage.
"""

from __future__ import annotations

from farm.layout import report_path
from farm.report.page import RunFacts, render_page
from farm.results import Totals, read_results
from farm.storage import Storage

__all__ = ["RunFacts", "write_report"]


def write_report(out: Storage, facts: RunFacts, *, totals: Totals) -> str:
    """Write a run's page from its results, which must be written already; returns its path below OUT."""
    path = report_path(facts.run_id)
    out.replace(
        path, render_page(read_results(out, facts.run_id), facts=facts, totals=totals, out_uri=out.uri).encode()
    )
    return path
