"""The timeline of an output and its file: true to the records, and drawable by strict viewers."""

from __future__ import annotations

import gzip
import io
import json
import random
import tracemalloc
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from example_clips import make_record, make_spec
from example_renders import job_of, renderer_of
from example_run import RUN
from scripted_engine import ScriptedEngine
from trace_files import TraceFile

from farm import ledger
from farm.errors import InputError, RankLostError
from farm.layout import record_path
from farm.provenance import Record, StageTime, Stint, Worker
from farm.storage import LocalStorage, MemoryStorage, Storage
from farm.timeline import ClipTime, Gang, clip_times, incidents, times_of
from farm.trace_events import write_trace
from jobs.cli import run

MADE, BROKEN, BAD = (
    make_spec(seed=seed, num_inference_steps=10, width=32, height=32, num_frames=5) for seed in (1, 2, 3)
)


@pytest.fixture
def out() -> Storage:
    return MemoryStorage(uuid.uuid4().hex)


def trace_of(out: Storage, clip_ids: set[str] | None = None) -> TraceFile:
    sink = io.StringIO()
    write_trace(sink, clip_times(out, clip_ids), incidents(out, clip_ids), about={"out": "here"})
    return TraceFile(sink.getvalue())


def put(out: Storage, record: Record) -> None:
    out.create(record_path(record.clip_id), record.to_json())


def aged(record: Record) -> Record:
    """As an earlier release would have written it."""
    return Record.model_validate(record.model_dump(exclude={"stints"}))


def test_a_trace_of_clips_that_were_made_broken_and_given_up(out: Storage, tmp_path: Path) -> None:
    scripts: list[Any] = [{}, {6: RankLostError("gone")}, {}, {1: InputError("no such picture")}]
    with_attempt = [{1: ZeroDivisionError("bug")}, {}]
    for engine, specs in ((ScriptedEngine(*scripts), (MADE, BROKEN, BAD)), (ScriptedEngine(*with_attempt), ())):
        renderer = renderer_of(out, tmp_path, engine)
        for spec in specs or (make_spec(seed=9, num_inference_steps=10, width=32, height=32, num_frames=5),):
            renderer.render(job_of(spec))
    trace = trace_of(out)
    assert {trace.row_name(event) for event in trace.clips} == {"gang 1: 1 x fake"}
    assert {trace.node_name(event) for event in trace.clips} == {"here"}
    records = {str(record["clip_id"]): record for record in ledger.read_records(out)}
    assert {clip["args"]["clip_id"] for clip in trace.clips} == set(records)
    for clip in trace.clips:
        assert "is_estimated" not in clip["args"]
        record = records[clip["args"]["clip_id"]]
        stages = trace.stages_of(clip)
        for name, seconds in record["timings"].items():
            drawn = [stage["dur"] for stage in stages if stage["name"] == name]
            tries = [
                stage["seconds"] for stint in record["stints"] for stage in stint["stages"] if stage["name"] == name
            ]
            assert sum(drawn) == pytest.approx(1e6 * sum(tries), abs=3 * len(tries))
            assert len(tries) > 1 or tries[0] == pytest.approx(seconds, abs=1e-3)
    told = {(event["name"], event["args"]["clip_id"]): event["args"] for event in trace.instants}
    assert told["clip resumed", BROKEN.clip_id]["step"] == 4
    assert told["clip failed", BAD.clip_id]["error_class"] == "InputError"
    ((_, blamed),) = [key for key in told if key[0] == "attempt failed"]
    assert told["attempt failed", blamed]["error_class"] == "ZeroDivisionError"


def test_prompts_are_not_in_it(out: Storage) -> None:
    put(out, make_record(make_spec(prompt="my own words")))
    sink = io.StringIO()
    write_trace(sink, clip_times(out), incidents(out), about={})
    assert "my own words" not in sink.getvalue()


def test_an_older_record_is_laid_out_backwards_from_its_end() -> None:
    record = make_record(timings={"encode": 1.0, "denoise": 6.0, "input": 0.5, "decode": 2.5})
    (time,) = times_of(json.loads(aged(record).to_json()))
    assert time.is_estimated
    assert time.ended_s - time.begun_s == pytest.approx(10.0)
    assert time.ended_s == pytest.approx(1767225600.0)  # its committed_at
    assert [stage.name for stage in time.stages] == ["input", "denoise", "decode", "encode"]
    assert time.gang == Gang(host="here", pid=1, about="1 x cpu")


def test_older_records_never_overlap_though_seconds_are_all_they_say(out: Storage) -> None:
    draw = random.Random(7)
    for seed in range(200):
        timings = {"denoise": draw.uniform(0.1, 3), "decode": draw.uniform(0, 1), "something_new": draw.uniform(0, 1)}
        record = make_record(make_spec(seed=seed), host=draw.choice("ab"), timings=timings)
        at = f"2026-01-01T00:{draw.randrange(3):02d}:{draw.randrange(60):02d}Z"
        put(out, aged(record.model_copy(update={"committed_at": at})))
    trace = trace_of(out)
    assert len(trace.clips) == 200
    assert all(clip["args"]["is_estimated"] for clip in trace.clips)


def test_a_clip_that_changed_gangs_is_in_both_rows(out: Storage) -> None:
    stints = [
        Stint(
            worker=Worker(host="a", pid=pid, node_id="n" * 56),
            begun_at=begun_at,
            stages=(StageTime(name="denoise", begun_s=0.0, seconds=5.0, step=step),),
        )
        for pid, begun_at, step in ((1, "2026-01-01T00:00:00.000+00:00", None), (2, "2026-01-01T00:00:05+00:00", 4))
    ]
    put(out, make_record(stints=stints))
    trace = trace_of(out)
    first, second = trace.clips
    assert (first["ts"], first["dur"], second["ts"]) == (0, 5_000_000, 5_000_000)
    assert first["pid"] == second["pid"]
    assert first["tid"] != second["tid"]
    assert trace.node_name(first) == "a (nnnnnnnn)"
    assert [event["tid"] for event in trace.instants] == [second["tid"]]


def test_a_failure_of_a_known_gang_is_in_its_row(out: Storage) -> None:
    stint = Stint(worker=Worker(host="a", pid=7, node_id="n1"), begun_at="2026-01-01T00:00:00+00:00")
    put(out, make_record(stints=[stint]))
    attempt = ledger.Attempt(error_class="RankLostError", reason="killed", worker="a:7")
    ledger.note_attempt(out, make_spec().clip_id, attempt)
    ledger.note_attempt(out, "0" * 32, attempt.model_copy(update={"worker": "b:8", "at": "2026-01-01T00:00:01+00:00"}))
    trace = trace_of(out)
    assert sorted(trace.row_name(event) for event in trace.instants) == ["gang 7: 1 x cpu", "gang 8"]


def test_of_a_run_only_its_clips(local_run: LocalStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    other = make_record(make_spec(seed=77))
    put(local_run, other)
    local_run.replace(f"runs/{RUN}/run.json", card())
    assert run(["trace", local_run.uri]) == 0
    trace = TraceFile((tmp_path / f"trace-{RUN}.json").read_text())
    assert len(trace.clips) == 3
    assert trace.about["run_id"] == RUN
    assert [event["name"] for event in trace.instants] == ["clip failed"]
    assert run(["trace", local_run.uri, "--all", "--out", "whole.json.gz"]) == 0
    whole = TraceFile(gzip.decompress((tmp_path / "whole.json.gz").read_bytes()).decode())
    assert other.clip_id in {clip["args"]["clip_id"] for clip in whole.clips}
    assert sorted(path.name for path in tmp_path.glob("*trace*")) == [f"trace-{RUN}.json"]


def card() -> bytes:
    values = {
        "run_id": RUN, "manifest_uri": "m.parquet", "manifest_sha256": "0" * 64, "model_name": "nano",
        "model_path": "/m", "model_fingerprint": "0" * 64, "num_rows": 7, "num_rejected": 1, "num_clips": 5,
    }  # fmt: skip
    return json.dumps(values).encode()


@pytest.mark.parametrize(
    ("arguments", "says"), [(["--run", "nope"], "no run nope"), (["--out", "/nowhere/t.json"], "/nowhere/t.json")]
)
def test_a_wrong_call_is_refused(
    local_run: LocalStorage, capsys: pytest.CaptureFixture[str], arguments: list[str], says: str
) -> None:
    local_run.replace(f"runs/{RUN}/run.json", card())
    assert run(["trace", local_run.uri, *arguments]) == 2
    assert says in capsys.readouterr().err


def test_nothing_is_a_valid_trace_too() -> None:
    sink = io.StringIO()
    write_trace(sink, [], [], about={})
    assert TraceFile(sink.getvalue()).events == []


def test_memory_does_not_grow_with_what_clips_tell() -> None:
    (one,) = times_of(json.loads(make_record().to_json()))
    facts = {"note": "x" * 2000}

    def clips() -> Iterator[ClipTime]:
        for number in range(5000):
            yield ClipTime(
                clip_id=f"{number:032x}", gang=one.gang, begun_s=float(number), ended_s=number + 0.5,
                stages=one.stages, facts=facts, is_estimated=False,
            )  # fmt: skip

    class Nowhere(io.StringIO):
        def write(self, text: str) -> int:
            return len(text)

    tracemalloc.start()
    write_trace(Nowhere(), clips(), [], about={})
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < 2 * 2**20  # of the ten megabytes that were written
