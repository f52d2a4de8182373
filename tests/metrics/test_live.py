"""Every panel and every rule has data from a farm that works, and every alert comes when its fault is provoked.

`make metrics-test`; needs Prometheus (tests/services/install.sh prometheus). METRICS_PREVIEWS=DIR keeps the drawings.
"""

from __future__ import annotations

import math
import os
import re
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from e2e_farm import Farm, wait_until
from metrics_asked import Answer, alerts, ask_panels, config_for, recordings
from metrics_batch import NUM_GANGS, NUM_GONE, run_batch
from metrics_online import run_online
from metrics_previews import draw, label_of
from served import Served
from services.endpoint import free_port
from services.prometheus import Prometheus, require_prometheus, running_prometheus
from services.ray_head import running_ray_head

from farm.ledger import read_records
from farm.metrics import RUN_SERIES, SERIES
from farm.storage import open_storage
from monitoring.files import rules_file
from monitoring.rules import groups
from monitoring.tuning import Tuning

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.timeout(1500)  # the farm runs for minutes before the first test

# As the committed ones, with limits that a farm of two cores exceeds within seconds.
QUICK = Tuning(
    window="20s",
    long="1m",
    month="1h",
    hold="0s",
    briefly="0s",
    stall_floor_s=4,
    stall_blind_s=3600,
    failed_share=0.01,
    lost_share=0.0002,
    rebuilds=0,
    conflicts=0,
    slow_ratio=1.2,
    idle_share=0.5,
    wait_s=0.2,
    backlog_s=0.5,
    budget=0.0005,
)
SETTINGS = {
    # Twice this is how long Ray keeps a gauge: longer than whoever sets one waits before saying it again.
    "RAY_metrics_report_interval_ms": "5000",
    "RAY_AUTH_MODE": "disabled",
    "WANFARM_CHECKPOINT_STEPS": "80",
    "WANFARM_CHECKPOINT_S": "600",
    "OMP_NUM_THREADS": "1",
}


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Below it are the outputs of both doors: batch/out and online/out."""
    return tmp_path_factory.mktemp("metrics")


@pytest.fixture(scope="module")
def watched(out: Path) -> Iterator[Prometheus]:
    """A Prometheus that has seen a batch run and a server, with their faults."""
    require_prometheus()
    rules, served = out / "rules.yaml", out / "served.json"
    rules.write_text(rules_file(groups(QUICK, interval="1s")))
    committed = yaml.safe_load((ROOT / "monitoring/prometheus/prometheus.yml").read_text())
    run_port = free_port()
    for name in ("batch", "online"):
        (out / name).mkdir()
    batch = Farm(out / "batch", model="nano", environment=SETTINGS)
    online = Served(out / "online", model="nano", environment=SETTINGS)
    try:
        with running_ray_head(num_cpus=2, environment=SETTINGS) as head:
            config = config_for(committed, rules=rules, batch=head.discovery, online=served, run_port=run_port)
            with running_prometheus(out / "prometheus", config) as prometheus:
                run_batch(batch, head, prometheus, port=run_port)
                with prometheus.provoked("FarmTargetDown", is_quiet_before=False):
                    head.kill()
                run_online(online, prometheus, port=free_port(), discovery=served)
                yield prometheus
    finally:
        batch.stop_all()
        online.end()


@pytest.fixture(scope="module")
def answers(watched: Prometheus) -> list[Answer]:
    return list(ask_panels(watched, range_s=time.time() - watched.begun_s))


def test_every_panel_has_data(answers: list[Answer]) -> None:
    empty = [answer for answer in answers if not answer.curves]
    excused = [answer for answer in empty if answer.query.why_empty]
    panels = {(answer.board.uid, answer.panel.title, answer.panel.about) for answer in answers}
    boards = {answer.board.uid for answer in answers}
    num_curves = sum(len(answer.curves) for answer in answers)
    print(f"\n{len(boards)} dashboards, {len(panels)} panels, {len(answers)} expressions, {num_curves} series shown")
    for answer in excused:
        print(f"  empty, as it may be: {answer.name} ({answer.query.why_empty})")
    print(f"{len(answers) - len(empty)} expressions with data, {len(excused)} empty for a reason that is given")
    assert [answer.name for answer in empty if answer not in excused] == []


def test_curves_are_numbers_with_a_name(answers: list[Answer]) -> None:
    for answer in answers:
        names = [label_of(answer, curve) for curve in answer.curves]
        assert len(set(names)) == len(names), (answer.name, names)
        labels = set(re.findall(r"{{\s*(\w+)\s*}}", answer.query.legend))
        for curve in answer.curves:
            assert labels <= set(curve.labels), answer.name
            assert not any(math.isinf(value) for _, value in curve.samples) or answer.panel.kind == "heatmap", (
                answer.name
            )


def test_every_rule_has_data(watched: Prometheus) -> None:
    known = {rule["name"]: rule for rule in watched.rules()}
    assert {name: rule["lastError"] for name, rule in known.items() if rule.get("lastError")} == {}
    assert set(known) == {rule.record for rule in recordings()} | {alert.name for alert in alerts()}
    empty = [rule.record for rule in recordings() if not watched.curves(rule.record)]
    silent = [alert.name for alert in alerts() if alert.name not in watched.heard]
    print(f"\n{len(recordings())} recording rules and {len(alerts())} alerts, {len(watched.heard)} of which fired")
    assert empty == []
    assert silent == []


def test_alerts_say_what_they_are_about(watched: Prometheus) -> None:
    print()
    for name, heard in sorted(watched.heard.items()):
        print(f"  {name}: {heard.summary}")
        for wrong in ("no value", "error", "{{", "  ", "<nil>"):
            assert wrong not in heard.summary.replace("InputError", ""), heard
        assert not heard.summary.startswith((" ", ":")), heard


def test_every_series_of_the_farm_was_there(watched: Prometheus) -> None:
    names = watched.names()
    for series in (*SERIES.values(), *RUN_SERIES.values()):
        suffix = {"counter": "_total", "histogram": "_bucket", "gauge": ""}[series.kind]
        assert series.name + suffix in names, series.name
    assert not {name for name in names if name.startswith("ray_farm_")}
    print(f"\n{len(SERIES) + len(RUN_SERIES)} series of the farm, {len(names)} names in all")


@pytest.mark.parametrize("cluster", ["batch", "online"])
def test_counters_are_what_the_records_say(watched: Prometheus, out: Path, cluster: str) -> None:
    records = [one for one in read_records(open_storage(str(out / cluster / "out"))) if by_a_gang(one)]
    videos = [record["video"] for record in records]
    expected = {
        'farm_clips_total{status="committed"}': len(records),
        "farm_clip_render_seconds_count": len(records),
        "farm_frames_total": sum(video["num_frames"] for video in videos),
        "farm_video_seconds_total": sum(video["num_frames"] / video["fps"] for video in videos),
        "farm_lost_steps_total": sum(record["lost_steps"] for record in records),
        "farm_device_seconds_total": sum(record["device_seconds"] for record in records),
        "farm_cost_total": sum(record["cost"] for record in records),
    }
    counted = dict.fromkeys(expected, 0.0)

    def has_been_scraped() -> bool:
        counted.update((name, watched.count(name, cluster=cluster)) for name in expected)
        return next(iter(counted.values())) == len(records)

    wait_until(has_been_scraped, timeout_s=30, what=f"{len(records)} clips of {cluster} in {counted}")
    print(f"\n{cluster}: " + ", ".join(f"{name} {value:g}" for name, value in counted.items()))
    for name in ("farm_device_seconds_total", "farm_cost_total"):
        # What went into a clip that somebody else had put first was spent all the same, and no record has it.
        assert counted.pop(name) >= 0.999 * expected[name]
        assert cluster == "batch" or watched.count(name, cluster=cluster) == pytest.approx(expected[name], rel=0.001)
        expected.pop(name)
    assert counted == pytest.approx(expected)


def by_a_gang(record: Mapping[str, Any]) -> bool:
    return bool(record["execution"]["device"] != "hand")


def test_what_went_wrong_was_counted(watched: Prometheus) -> None:
    assert watched.count('farm_dead_letters_total{error_class="InputError"}', cluster="batch") == NUM_GONE
    assert watched.count("farm_publish_conflicts_total", cluster="batch") == 1
    assert watched.count('farm_gang_rebuilds_total{reason="RankLostError"}', cluster="batch") in range(1, NUM_GANGS + 1)
    assert watched.count("farm_resumes_total", cluster="batch") >= 1


def test_dashboards_can_be_drawn(answers: list[Answer], tmp_path: Path) -> None:
    folder = Path(os.environ.get("METRICS_PREVIEWS") or tmp_path)
    for uid in dict.fromkeys(answer.board.uid for answer in answers):
        path = folder / f"dashboards-{uid.removeprefix('wanfarm-')}.webp"
        draw([answer for answer in answers if answer.board.uid == uid], path)
        assert path.stat().st_size > 10_000
