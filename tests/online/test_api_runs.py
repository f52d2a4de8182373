"""Batch runs of the same output, as the API tells of them."""

from __future__ import annotations

import httpx2
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from example_clips import make_record, make_spec
from online_farm import OnlineFarm

from deployments.api.routes import runs
from farm.control import give_command
from farm.layout import record_path
from farm.ledger import RunLease
from farm.run_facts import RunCard, write_card
from farm.storage import Storage


def plan(out: Storage, run_id: str, *, num_clips: int, num_done: int) -> None:
    """A run of which so many clips are committed."""
    specs = [make_spec(seed=seed) for seed in range(num_clips)]
    card = RunCard(
        run_id=run_id, manifest_uri="prompts.parquet", manifest_sha256="0" * 64, model_name="nano", model_path="/nano",
        model_fingerprint="0" * 64, num_rows=num_clips + 1, num_rejected=1, num_clips=num_clips,
    )  # fmt: skip
    write_card(out, card)
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"clip_id": [spec.clip_id for spec in specs]}), sink)
    out.replace(f"runs/{run_id}/rows.parquet", sink.getvalue().to_pybytes())
    for spec in specs[:num_done]:
        out.create(record_path(spec.clip_id), make_record(spec).to_json())


def seen(client: httpx2.Client) -> dict[str, object]:
    answer = client.get("/v1/runs")
    assert answer.status_code == 200, answer.text
    [run] = answer.json()["data"]
    return dict(run)


def test_how_far_a_run_is(farm: OnlineFarm, admin: httpx2.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "FRESH_S", 0.0)
    assert admin.get("/v1/runs").json()["data"] == []
    plan(farm.out, "run1", num_clips=5, num_done=2)
    run = seen(admin)
    counts = {name: run[name] for name in ("num_rows", "num_clips", "num_done", "num_failed", "num_rejected")}
    assert counts == {"num_rows": 6, "num_clips": 5, "num_done": 2, "num_failed": 0, "num_rejected": 1}
    assert (run["status"], run["clips_per_minute"], run["model"]) == ("interrupted", None, "nano")
    with RunLease(farm.out, "run1"):
        assert seen(admin)["status"] == "running"
        spec = make_spec(seed=3)
        farm.out.create(record_path(spec.clip_id), make_record(spec).to_json())
        run = seen(admin)
        assert run["num_done"] == 3
        assert isinstance(run["clips_per_minute"], float)
        assert isinstance(run["eta_s"], float)
    give_command(farm.out, "run1", "pause", by="someone")
    run = seen(admin)
    assert (run["status"], run["stop"]["by"]) == ("paused", "someone")  # type: ignore[index]


def test_where_the_report_of_a_run_lies(farm: OnlineFarm, admin: httpx2.Client) -> None:
    plan(farm.out, "run1", num_clips=1, num_done=1)
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"device_seconds": [2.0], "cost": [0.5]}), sink)
    farm.out.replace("runs/run1/results/part-00000.parquet", sink.getvalue().to_pybytes())
    run = seen(admin)
    assert (run["status"], run["cost"], run["report_uri"]) == (
        "finished",
        0.5,
        farm.out.uri_of("runs/run1/report.html"),
    )


def test_a_run_that_nobody_has_begun(farm: OnlineFarm, admin: httpx2.Client) -> None:
    plan(farm.out, "run1", num_clips=5, num_done=0)
    run = seen(admin)
    assert (run["status"], run["report_uri"]) == ("planned", None)
