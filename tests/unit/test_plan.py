"""A plan counts every row once, leaves out what is done, orders the rest by shape, and is the same every time."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from farm import segments
from farm.calibration import Calibration, write_calibration
from farm.cost import Fleet
from farm.errors import ManifestError, ModelError
from farm.layout import failed_path, record_path
from farm.models import CARDS, NANO_CARD, ModelRef
from farm.plan import Plan, plan_run
from farm.settings import Settings
from farm.spec import ClipSpec, RenderOptions
from farm.storage import LocalStorage, MemoryStorage, Storage

NANO = ModelRef(name="nano", path="/models/nano", card=NANO_CARD, fingerprint="f" * 64)


@pytest.fixture
def out(tmp_path: Path) -> MemoryStorage:
    return MemoryStorage(str(tmp_path))  # one name is one storage


def write(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def plan(uri: str, settings: Settings, out: Storage | None = None, **flags: Any) -> Plan:
    return plan_run(uri, settings=settings, out=out, **{"model": NANO, "options": RenderOptions(), **flags})


def table(out: Storage, path: str) -> list[dict[str, Any]]:
    return list(pq.read_table(io.BytesIO(out.read(path))).to_pylist())


def clips(out: Storage, found: Plan) -> list[dict[str, Any]]:
    return [row for path in found.segments for row in table(out, path)]


def test_a_plan_is_published(tmp_path: Path, settings: Settings, out: MemoryStorage) -> None:
    rows = [{"prompt": "x", "id": "a", "tags": {"k": "v"}}, {"prompt": "y", "width": 50, "id": "b"}, {"prompt": "z"}]
    found = plan(write(tmp_path / "m.jsonl", rows), settings, out)
    assert (found.num_rows, found.num_rejected, found.num_clips, found.num_remaining) == (3, 1, 2, 2)
    assert sorted(out.names()) == sorted([*found.segments, found.rows_path, found.rejected_path])
    assert found.segments == (f"runs/{found.run_id}/plan/part-00000.parquet",)
    first, second = clips(out, found)
    spec = ClipSpec.from_json(first["spec"])
    assert (first["row"], first["id"], first["model"], first["model_name"]) == (0, "a", "/models/nano", "nano")
    assert first["clip_id"] == spec.clip_id
    assert (spec.prompt, spec.model) == ("x", "f" * 64)
    assert first["seconds"] > 0
    assert first["num_tokens"] == 80
    assert second["row"] == 2
    admitted = table(out, found.rows_path)
    assert [row["clip_id"] for row in admitted] == [first["clip_id"], second["clip_id"]]
    assert (admitted[0]["tags"], admitted[0]["seed"], admitted[0]["width"]) == ([("k", "v")], spec.seed, 64)
    (rejected,) = table(out, found.rejected_path)
    assert (rejected["row"], rejected["id"]) == (1, "b")
    assert rejected["faults"] == ["width: 50 is not a positive multiple of 16 (nearest: 48 or 64)"]
    assert json.loads(rejected["request"]) == rows[1]


def test_without_an_output_nothing_is_written(tmp_path: Path, settings: Settings, out: MemoryStorage) -> None:
    uri = write(tmp_path / "m.jsonl", [{"prompt": "x"}])
    assert plan(uri, settings).segments == ()
    assert plan(uri, settings, out, publish=False).num_remaining == 1
    assert list(out.names()) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.jsonl"]


def test_a_manifest_that_breaks_off_publishes_nothing(tmp_path: Path, settings: Settings, out: MemoryStorage) -> None:
    path = tmp_path / "m.jsonl"
    path.write_text('{"prompt": "x"}\n' * 5000 + '{"prom')
    with pytest.raises(ManifestError, match="truncated"):
        plan(str(path), settings, out)
    assert list(out.names()) == []


def test_the_same_command_is_the_same_run(tmp_path: Path, settings: Settings, out: MemoryStorage) -> None:
    uri = write(tmp_path / "m.jsonl", [{"prompt": "x"}, {"prompt": "x"}])
    first, before = plan(uri, settings, out), {path: out.read(path) for path in out.names()}
    assert plan(uri, settings, out) == first
    assert {path: out.read(path) for path in out.names()} == before
    moved = write(tmp_path / "elsewhere.jsonl", [{"prompt": "x"}, {"prompt": "x"}])
    assert plan(moved, settings).run_id == first.run_id


def test_what_changes_pixels_is_another_run(tmp_path: Path, settings: Settings) -> None:
    uri = write(tmp_path / "m.jsonl", [{"prompt": "x"}])
    flags: list[dict[str, Any]] = [
        {},
        {"options": RenderOptions(profile="diffusers")},
        {"options": RenderOptions(codec="av1")},
        {"options": RenderOptions(dtype="bfloat16")},
        {"options": RenderOptions(seed=1)},
        {"model": ModelRef(name="nano", path="/m", card=NANO_CARD, fingerprint="e" * 64)},
    ]
    ids = [plan(uri, settings, **flag).run_id for flag in flags]
    ids.append(plan(write(tmp_path / "n.jsonl", [{"prompt": "y"}]), settings).run_id)
    assert len(set(ids)) == 7
    same = [
        {"options": RenderOptions(dtype="float32")},
        {"keep_columns": True},
        {"fleet": lambda _: Fleet(num_actors=9)},
    ]
    assert {plan(uri, settings, **flag).run_id for flag in same} == {ids[0]}


def test_repeated_rows_vary_and_repeated_seeds_share_a_clip(
    tmp_path: Path, settings: Settings, out: MemoryStorage
) -> None:
    rows = [
        {"prompt": "x"},
        {"prompt": "x", "tags": {"take": "2"}},
        {"prompt": "x", "seed": 1},
        {"prompt": "x", "seed": 1},
    ]
    found = plan(write(tmp_path / "m.jsonl", rows), settings, out)
    assert (found.num_rows, found.num_rejected, found.num_clips, found.num_remaining) == (4, 0, 3, 3)
    ids = [row["clip_id"] for row in table(out, found.rows_path)]
    assert len(set(ids[:3])) == 3
    assert ids[2] == ids[3]
    assert [clip["row"] for clip in clips(out, found)] == [0, 1, 2]


def test_appending_rows_renames_no_clip(tmp_path: Path, settings: Settings, out: MemoryStorage) -> None:
    rows = [{"prompt": "x"}, {"prompt": "y"}]
    short = plan(write(tmp_path / "m.jsonl", rows), settings, out)
    longer = plan(write(tmp_path / "n.jsonl", [*rows, {"prompt": "x"}]), settings, out)
    first, second = ([row["clip_id"] for row in table(out, found.rows_path)] for found in (short, longer))
    assert second[:2] == first


def test_what_is_done_or_given_up_does_not_remain(tmp_path: Path, settings: Settings, out: MemoryStorage) -> None:
    uri = write(tmp_path / "m.jsonl", [{"prompt": str(number)} for number in range(5)])
    ids = [clip["clip_id"] for clip in clips(out, plan(uri, settings, out))]
    out.create(record_path(ids[0]), b"{}")
    out.create(record_path(ids[1]), b"{}")
    out.create(failed_path(ids[1]), b"{}")  # committed after all
    out.create(failed_path(ids[2]), b"{}")
    out.create(record_path("0" * 32), b"{}")  # of another run
    found = plan(uri, settings, out)
    assert (found.num_clips, found.num_done, found.num_failed, found.num_remaining) == (5, 2, 1, 2)
    assert [clip["clip_id"] for clip in clips(out, found)] == ids[3:]
    assert found.estimate.num_clips == 2
    for clip_id in ids[3:]:
        out.create(record_path(clip_id), b"{}")
    last = plan(uri, settings, out)
    assert (last.num_remaining, last.segments, last.estimate.device_seconds) == (0, (), 0.0)
    assert list(out.names(f"runs/{last.run_id}/plan")) == []


def test_segments_are_bounded_and_ordered_by_shape_and_urgency(
    tmp_path: Path, settings: Settings, out: MemoryStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segments, "MAX_CLIPS", 4)
    rows = [{"prompt": "x", "width": (64, 80, 96)[n % 3], "priority": 5 if n in (4, 9) else None} for n in range(10)]
    found = plan(write(tmp_path / "m.jsonl", rows), settings, out)
    assert [len(table(out, path)) for path in found.segments] == [4, 4, 2]
    shown = [(json.loads(clip["spec"])["width"], clip["row"]) for clip in clips(out, found)]
    assert shown == [
        (64, 9), (64, 0), (64, 3), (64, 6), (80, 4), (80, 1), (80, 7), (96, 2), (96, 5), (96, 8),
    ]  # fmt: skip


def test_a_driver_claims_the_run_before_the_ledger_is_read(
    tmp_path: Path, settings: Settings, out: MemoryStorage
) -> None:
    uri = write(tmp_path / "m.jsonl", [{"prompt": "x"}])
    (clip,) = clips(out, plan(uri, settings, out))
    claimed: list[str] = []

    def claim(run_id: str) -> None:
        claimed.append(run_id)
        out.create(record_path(clip["clip_id"]), b"{}")  # what the driver before us still committed

    found = plan(uri, settings, out, claim=claim)
    assert claimed == [found.run_id]
    assert (found.num_done, found.num_remaining) == (1, 0)


def test_a_shorter_plan_removes_the_segments_of_a_longer_one(
    tmp_path: Path, settings: Settings, out: MemoryStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segments, "MAX_CLIPS", 2)
    uri = write(tmp_path / "m.jsonl", [{"prompt": str(number)} for number in range(6)])
    found = plan(uri, settings, out)
    for clip in clips(out, found)[:5]:
        out.create(record_path(clip["clip_id"]), b"{}")
    again = plan(uri, settings, out)
    assert len(found.segments) == 3
    assert list(out.names(f"runs/{found.run_id}/plan")) == list(again.segments) == [found.segments[0]]


def test_warnings_are_counted(tmp_path: Path, settings: Settings, out: MemoryStorage) -> None:
    rows = [{"prompt": "x", "num_inference_steps": 2}, {"prompt": "y", "num_inference_steps": 3}, {"prompt": "z"}]
    found = plan(write(tmp_path / "m.jsonl", rows), settings, out)
    assert found.warnings == {f"fewer than {NANO_CARD.advice.min_steps} steps: details are missing": 2}
    assert [len(row["warnings"]) for row in table(out, found.rows_path)] == [1, 1, 0]


def test_a_model_that_cannot_be_rendered_is_refused(tmp_path: Path, settings: Settings) -> None:
    card = CARDS["wan2.1-vace-14b"]
    model = ModelRef(name=card.name, path="/m", card=card, fingerprint="f")
    with pytest.raises(ModelError, match="cannot be rendered: it is steered by control"):
        plan(write(tmp_path / "m.jsonl", [{"prompt": "x"}]), settings, model=model)


def test_a_rows_own_model_is_looked_for(tmp_path: Path, settings: Settings) -> None:
    found = plan(write(tmp_path / "m.jsonl", [{"prompt": "x", "model": "nowhere"}, {"prompt": "x"}]), settings)
    ((row, _, (fault,)),) = found.rejected
    assert row == 0
    assert fault.startswith("model: no model 'nowhere'")
    assert found.num_remaining == 1


def test_a_measured_device_makes_a_measured_estimate(tmp_path: Path, settings: Settings, out: MemoryStorage) -> None:
    uri = write(tmp_path / "m.jsonl", [{"prompt": str(number)} for number in range(10)])
    assert not plan(uri, settings, out).estimate.is_measured
    kept = Calibration(
        device="cpu", model="nano", dit_flops_per_second=1e30, vae_flops_per_second=1e30, overhead_seconds=2.0,
        load_seconds=3.0, num_clips=4,
    )  # fmt: skip
    write_calibration(out, kept)
    found = plan(uri, settings, out, fleet=lambda _: Fleet(num_actors=2)).estimate
    assert found.is_measured
    assert found.device_seconds == pytest.approx(20)
    assert found.wall_seconds == pytest.approx(13)


def test_rows_that_are_all_bad_are_still_a_plan(tmp_path: Path, settings: Settings) -> None:
    out = LocalStorage(tmp_path / "out")
    found = plan(write(tmp_path / "m.jsonl", [{"prompt": "x", "width": 1}] * 30), settings, out)
    assert (found.num_rows, found.num_rejected, found.num_clips, found.segments) == (30, 30, 0, ())
    assert len(found.rejected) == 20
    assert len(table(out, found.rejected_path)) == 30
    assert table(out, found.rows_path) == []
