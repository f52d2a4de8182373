"""The farm's series: their names, who exports which, and what is set when."""

from __future__ import annotations

import re
import socket
import time
import urllib.request
from pathlib import Path

import pytest
from example_renders import job_of, renderer_of
from gang_orders import PLAN, order_of
from meters import Remembered
from scripted_engine import ScriptedEngine

from farm import metrics
from farm.errors import GangStartError, InputError, RankLostError, UsageError
from farm.exporting import PrometheusMeter, exported
from farm.metrics import RUN_SERIES, SERIES, Series
from farm.run_facts import RunCard, write_card
from farm.storage import MemoryStorage, Storage
from farm.workers.engine import ModelPlan, Unwatched
from farm.workers.gang import gang as gang_module
from farm.workers.gang import standing
from farm.workers.gang.standing import Standing
from jobs.exporter import run_gauges
from jobs.progress import Tally

FAKE = "farm.workers.fake:FakeBackend"


@pytest.fixture
def out() -> Storage:
    return MemoryStorage(f"metrics-{time.monotonic_ns()}")


def test_names_and_labels() -> None:
    every = {**SERIES, **RUN_SERIES}
    assert len(every) == len(SERIES) + len(RUN_SERIES)  # none from both kinds of process
    for name, series in every.items():
        assert re.fullmatch(r"farm_[a-z_]+", name)
        assert not name.endswith(("_total", "_bucket", "_sum", "_count", "_created"))
        assert not {"clip", "clip_id", "job", "job_id", "prompt", "le", "quantile"} & set(series.labels)
        assert (series.kind == "histogram") == bool(series.buckets)
        assert list(series.buckets) == sorted(set(series.buckets))


def test_every_series_of_the_module_is_listed() -> None:
    found = {value.name for value in vars(metrics).values() if isinstance(value, Series)}
    assert found == set(SERIES) | set(RUN_SERIES)


def test_shapes_beyond_the_limit_share_a_label() -> None:
    shapes = metrics.Shapes()
    labels = [shapes.label(width=16 * n, height=16, num_frames=5) for n in range(1, 2 * metrics.MAX_SHAPES)]
    assert len(set(labels)) == metrics.MAX_SHAPES + 1
    assert labels[0] == "16x16x5"
    assert shapes.label(width=16, height=16, num_frames=5) == "16x16x5"
    assert labels[-1] == metrics.OTHER_SHAPE


def test_a_clip_in_numbers(out: Storage, tmp_path: Path) -> None:
    meter, job = Remembered(), job_of()
    assert renderer_of(out, tmp_path, ScriptedEngine(), meter=meter).render(job).status == "committed"
    spec = job.spec
    assert meter.of(metrics.FRAMES) == {("fake",): spec.num_frames}
    assert meter.of(metrics.VIDEO_SECONDS) == {("fake",): spec.num_frames / spec.fps}
    (device_seconds,) = meter.of(metrics.DEVICE_SECONDS).values()
    assert device_seconds > 0
    assert meter.of(metrics.COST) == {}  # the fake device has no price
    assert meter.of(metrics.RESUMES) == {("fake",): 0}
    key = (metrics.STEP_TIMES.name, "fake", "32x32x5", "1")
    assert meter.counts[key] == spec.num_inference_steps - 1  # the first of a try has more in it than a step
    assert {stage for stage, _ in meter.of(metrics.STAGE_WORK)} <= set(metrics.STAGES)


def test_a_lost_rank_in_numbers(out: Storage, tmp_path: Path) -> None:
    meter = Remembered()
    engine = ScriptedEngine({6: RankLostError("rank 1 was killed")})
    assert renderer_of(out, tmp_path, engine, meter=meter).render(job_of()).status == "committed"
    assert meter.of(metrics.RESUMES) == {("fake",): 1}
    assert meter.of(metrics.LOST_STEPS)[("fake",)] > 0


def test_a_dead_letter_in_numbers(out: Storage, tmp_path: Path) -> None:
    meter = Remembered()
    engine = ScriptedEngine({6: InputError("bad")})
    assert renderer_of(out, tmp_path, engine, meter=meter).render(job_of()).status == "failed"
    assert meter.of(metrics.DEAD_LETTERS) == {("InputError", "fake"): 1}
    assert meter.of(metrics.CLIPS) == {("failed", "fake"): 1}


def test_a_gang_says_again_what_it_does_until_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(standing, "SAY_AGAIN_S", 0.01)
    meter = Remembered()
    gang = Standing(meter, model="m", degree=4)
    assert meter.of(metrics.CLIPS)[("failed", "m")] == 0  # counters are there before their first event
    gang.tell("starting")
    gang.tell("rendering")
    assert meter.of(metrics.GANGS) == {("starting", "m"): 0, ("idle", "m"): 0, ("rendering", "m"): 1}
    assert meter.of(metrics.DEVICES)[("rendering", "m")] == 4
    key = (metrics.GANGS.name, "rendering", "m")
    said = meter.counts[key]
    deadline = time.monotonic() + 10
    while meter.counts[key] < said + 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert meter.counts[key] >= said + 3
    gang.tell(None)
    assert set(meter.of(metrics.GANGS).values()) == {0.0}
    said = meter.counts[key]
    time.sleep(0.1)
    assert meter.counts[key] == said
    gang.tell("idle")
    assert meter.of(metrics.GANGS)[("idle", "m")] == 1
    gang.tell(None)


def test_a_gang_tells_what_it_does(tmp_path: Path) -> None:
    told: list[str | None] = []
    gang = gang_module.Gang(ModelPlan(**PLAN), backend=FAKE, folder=tmp_path, on_state=told.append)
    try:
        list(gang.render(order_of("a cat"), Unwatched()))
        assert told == ["starting", "idle", "rendering", "idle"]
        with pytest.raises(RankLostError):
            list(gang.render(order_of("fake:die"), Unwatched()))
        assert told[4:] == ["rendering", None]
    finally:
        gang.close()
    assert told[-1] is None


def test_a_gang_that_does_not_start_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise GangStartError("no")

    monkeypatch.setattr(gang_module, "Crew", refuse)
    told: list[str | None] = []
    gang = gang_module.Gang(ModelPlan(**PLAN), backend=FAKE, folder=tmp_path, on_state=told.append)
    with pytest.raises(GangStartError):
        gang.start()
    assert told == ["starting", None]


def test_a_run_exports_its_gauges(out: Storage) -> None:
    card = RunCard(
        run_id="r1",
        manifest_uri="/data/prompts.parquet",
        manifest_sha256="0",
        model_name="nano",
        model_path="/nano",
        model_fingerprint="f",
        num_rows=5,
        num_rejected=0,
        num_clips=5,
    )
    write_card(out, card)
    port = free_port()
    with run_gauges(out, "r1", port=port) as gauges:
        tally = Tally(total=5, done=1, failed=0)
        gauges.set(tally)
        assert "farm_run_eta_seconds{" not in scraped(port)
        tally.add(has_failed=True)
        gauges.set(tally)
        text = scraped(port)
        labels = '{manifest="prompts.parquet",run="r1"}'
        assert f"farm_run_clips{labels} 5.0" in text
        assert f"farm_run_done{labels} 1.0" in text
        assert f"farm_run_failed{labels} 1.0" in text
        assert "farm_run_eta_seconds{" in text
        assert all(line.startswith(("farm_run_", "# ")) for line in text.splitlines())
        with pytest.raises(UsageError, match=str(port)), run_gauges(out, "r1", port=port):
            pass
    with pytest.raises(OSError):
        scraped(port)


def test_a_run_without_a_port_exports_nothing(out: Storage) -> None:
    with run_gauges(out, "r1", port=None) as gauges:
        gauges.set(Tally(total=5, done=1, failed=0))


def test_every_kind_can_be_exported_outside_ray() -> None:
    meter = PrometheusMeter(SERIES)
    port = free_port()
    meter.record(metrics.CLIPS, status="committed", model="m")
    meter.begin(metrics.PUBLISH_CONFLICTS)
    meter.record(metrics.CLIP_RENDER_SECONDS, 3.0, model="m")
    meter.record(metrics.GANGS, 2.0, state="idle", model="m")
    with exported(meter, port=port):
        text = scraped(port)
    assert 'farm_clips_total{model="m",status="committed"} 1.0' in text
    assert "farm_publish_conflicts_total 0.0" in text
    assert 'farm_clip_render_seconds_bucket{le="4.0",model="m"} 1.0' in text
    assert 'farm_gangs{model="m",state="idle"} 2.0' in text


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def scraped(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        return str(answer.read().decode())
