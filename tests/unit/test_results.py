"""Results cover each manifest row once, whatever became of it."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from example_run import RUN, write_plan

from farm import results
from farm.control import give_command
from farm.results import read_results, write_results
from farm.storage import LocalStorage, MemoryStorage


def test_results_cover_each_row_once_in_order(local_run: LocalStorage) -> None:
    totals = write_results(local_run, RUN)
    rows = list(read_results(local_run, RUN))
    assert [row["row"] for row in rows] == list(range(7))
    assert [row["status"] for row in rows] == ["committed"] * 4 + ["failed", "rejected", "pending"]
    first, repeated, failed, rejected = rows[0], rows[3], rows[4], rows[5]
    assert Path(first["uri"]).read_bytes()[4:8] == b"ftyp"
    assert first["seconds"] == {"denoise": 1.5, "decode": 0.5}
    assert first["warnings"] == ["clip is short", "under 20 steps"]
    assert first["tags"] == {"scene": "1"}
    assert first["worker"] == "worker-1"
    assert repeated["sha256"] == rows[1]["sha256"]
    assert (failed["error_class"], failed["attempts"], failed["uri"]) == ("RenderError", 2, None)
    assert rejected["error"] == "width: 65 is no multiple of 16; seed: <b>negative</b>"
    assert rejected["prompt"] == "a bad row"
    assert totals.rows == {"committed": 4, "failed": 1, "rejected": 1, "pending": 1, "cancelled": 0}
    assert (totals.num_clips, totals.device_seconds, totals.cost) == (3, 6.0, 0.75)
    assert totals.stage_seconds == {"denoise": 4.5, "decode": 1.5}


def test_what_is_left_of_a_cancelled_run_is_cancelled(local_run: LocalStorage) -> None:
    give_command(local_run, RUN, "cancel", by="ann@here")
    totals = write_results(local_run, RUN)
    assert (totals.rows["pending"], totals.rows["cancelled"], totals.rows["committed"]) == (0, 1, 4)
    assert [row["status"] for row in read_results(local_run, RUN)][-1] == "cancelled"
    give_command(local_run, RUN, "resume", by="ann@here")
    assert write_results(local_run, RUN).rows["pending"] == 1


def test_results_in_several_parts_leave_no_stale_part(local_run: LocalStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "PART_ROWS", 2)
    write_results(local_run, RUN)
    assert len(list(local_run.names(f"runs/{RUN}/results"))) == 4
    several = list(read_results(local_run, RUN))
    monkeypatch.setattr(results, "PART_ROWS", 100)
    write_results(local_run, RUN)
    assert len(list(local_run.names(f"runs/{RUN}/results"))) == 1
    assert list(read_results(local_run, RUN)) == several


def test_a_run_without_rows_has_results_with_columns() -> None:
    out = MemoryStorage("no rows")
    write_plan(out, [], [])
    assert sum(write_results(out, RUN).rows.values()) == 0
    data = out.read(f"runs/{RUN}/results/part-00000.parquet")
    assert pq.read_schema(pa.BufferReader(data)).names == results.SCHEMA.names
