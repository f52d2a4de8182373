"""Dashboards, rules and their runbook: as generated, well-formed, of series that are exported, and all of those."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml

from farm.metrics import RUN_SERIES, SERIES, Series
from jobs.cli import app
from monitoring.boards import BOARDS
from monitoring.files import generated
from monitoring.panels import COLUMNS, Dashboard, Panel, Query
from monitoring.rules import Alert, Recording, groups
from monitoring.tuning import Tuning

ROOT = Path(__file__).parents[2]
RUNBOOK = (ROOT / "docs/guides/runbook.md").read_text()
RULES = [rule for group in groups() for rule in group.rules]
ALERTS = [rule for rule in RULES if isinstance(rule, Alert)]
RECORDS = {rule.record for rule in RULES if isinstance(rule, Recording)}
QUERIES = [(board, panel, query) for board in BOARDS for panel in board.panels for query in panel.queries]

# What Grafana puts in.
VARIABLES = {"$__rate_interval": "1m", "$__range": "3h", "$cluster": ".*", "$model": ".*"}


def expressions() -> Iterator[str]:
    for _, _, query in QUERIES:
        found = query.expr
        for name, value in VARIABLES.items():
            found = found.replace(name, value)
        yield found
    yield from (rule.expr for rule in RULES)


def selectors(node: Any) -> Iterator[Any]:
    """Every vector selector below a node of PromQL's syntax."""
    if isinstance(node, promql_parser.VectorSelector):
        yield node
        return
    for name in ("expr", "lhs", "rhs", "vector_selector", "param"):
        child = getattr(node, name, None)
        if child is not None and not isinstance(child, str | float):
            yield from selectors(child)
    for child in getattr(node, "args", None) or ():
        yield from selectors(child)


def exported_names(series: Series) -> set[str]:
    if series.kind == "histogram":
        return {f"{series.name}_{suffix}" for suffix in ("bucket", "count", "sum")}
    return {f"{series.name}_total" if series.kind == "counter" else series.name}


EXPORTED = {name: series for series in (*SERIES.values(), *RUN_SERIES.values()) for name in exported_names(series)}
# Of the target, of Ray's processes, and of quantiles.
OTHER_LABELS = {"cluster", "le", "WorkerId", "NodeAddress"}


def test_committed_files_are_the_generated_ones() -> None:
    for path, content in generated().items():
        assert path.read_text() == content, f"{path}: run `python -m monitoring`"
    assert set((ROOT / "monitoring/grafana").iterdir()) <= set(generated())


@pytest.mark.parametrize("expr", sorted(set(expressions())))
def test_an_expression_is_promql_of_series_that_there_are(expr: str) -> None:
    assert "vector(0)" not in expr
    found = list(selectors(promql_parser.parse(expr)))
    assert found or expr.startswith("vector(")
    for selector in found:
        name, matchers = selector.name, {matcher.name for matcher in selector.matchers.matchers}
        if name.startswith("farm_"):
            assert name in EXPORTED, name
            assert matchers <= {*EXPORTED[name].labels, *OTHER_LABELS}, name
        elif ":" in name:
            assert name in RECORDS, name
        else:
            assert name == "up" or name.startswith("ray_"), name


def test_the_check_of_names_can_fail() -> None:
    for wrong in ("rate(farm_clips[5m])", "sum(farm_gangs_total)", 'farm_frames_total{status="x"}'):
        with pytest.raises(AssertionError):
            test_an_expression_is_promql_of_series_that_there_are(wrong)


def test_every_series_is_on_a_dashboard() -> None:
    shown = {name for _, _, query in QUERIES for name in re.findall(r"farm_[a-z_]+", query.expr) if name in EXPORTED}
    shown = {EXPORTED[name].name for name in shown}
    # In an alert alone: when a run's last clip ended is for arithmetic, not for eyes.
    assert set(SERIES) | set(RUN_SERIES) == shown | {"farm_run_last_end_timestamp_seconds"}


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.uid)
def test_panels_lie_beside_each_other(board: Dashboard) -> None:
    panels = board.to_json()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken = set[tuple[int, int]]()
    for panel in panels:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= COLUMNS
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken
        taken |= cells
    for row in board.rows:
        assert len({panel.title for panel in row.panels}) == len(row.panels)
        assert all(panel.about.endswith(".") and panel.queries for panel in row.panels)


def test_a_long_row_is_broken() -> None:
    from monitoring.panels import Row

    panels = [Panel(title=str(n), about="a.", queries=(Query(expr="up"),), width=12) for n in range(3)]
    board = Dashboard(uid="u", title="t", about="a", rows=(Row(title="r", panels=panels),))
    places = [panel["gridPos"] for panel in board.to_json()["panels"]]
    assert [(place["x"], place["y"]) for place in places] == [(0, 0), (0, 1), (12, 1), (0, 9)]


def test_dashboards_are_json_of_their_own() -> None:
    assert len({board.uid for board in BOARDS}) == len(BOARDS) == len({board.title for board in BOARDS})
    for board in BOARDS:
        assert json.loads(json.dumps(board.to_json())) == board.to_json()


def test_alerts_have_names_and_entries_of_their_own() -> None:
    assert len({alert.name for alert in ALERTS}) == len(ALERTS)
    headings = re.findall(r"^## (.+)$", RUNBOOK, re.MULTILINE)
    assert headings == [alert.name for alert in ALERTS]


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.name)
def test_an_entry_says_what_is_seen_what_it_is_and_what_to_type(alert: Alert) -> None:
    entry = RUNBOOK.split(f"## {alert.name}\n")[1].split("\n## ")[0]
    for part in ("**Symptom.**", "**Cause.**", "**Command.**"):
        assert entry.count(part) == 1, part
    (block,) = re.findall(r"```bash\n(.+?)```", entry, re.DOTALL)
    assert block.strip()
    assert alert.to_json()["annotations"]["runbook"].endswith(f"#{alert.name.lower()}")


@pytest.mark.parametrize("line", re.findall(r"^(?:\w+=\S+ )*(wanfarm .+)$", RUNBOOK, re.MULTILINE))
def test_commands_of_the_runbook_are_commands(line: str) -> None:
    words = shlex.split(line)[1:]
    found = app
    while words and words[0] in set(found):
        found = found[words.pop(0)]
    assert found is not app, line
    flags = {
        name
        for argument in found.assemble_argument_collection(default_parameter=app.default_parameter)
        for name in argument.names
    }
    assert {word for word in words if word.startswith("--")} <= flags


def test_every_threshold_is_used() -> None:
    plain = str([group.to_json() for group in groups()])
    odd: dict[str, Any] = {
        "window": "17m", "long": "3h", "month": "29d", "hold": "19m", "briefly": "3m", "stall_floor_s": 911,
        "stall_blind_s": 912, "failed_share": 0.913, "lost_share": 0.914, "rebuilds": 915, "conflicts": 916,
        "slow_ratio": 91.7, "idle_share": 0.918, "wait_s": 919, "backlog_s": 920, "budget": 921, "currency": "XYZ",
    }  # fmt: skip
    tuned = str([group.to_json() for group in groups(Tuning(**odd))])
    for name, value in odd.items():
        assert str(value) in tuned, name
        assert str(value) not in plain, name


def test_targets_are_relabelled_alike_on_machines_and_on_kubernetes() -> None:
    config = yaml.safe_load((ROOT / "monitoring/prometheus/prometheus.yml").read_text())
    monitors = list(yaml.safe_load_all((ROOT / "monitoring/podmonitor.yaml").read_text()))
    (ours,) = [job["metric_relabel_configs"] for job in config["scrape_configs"] if job["job_name"] == "wanfarm-ray"]
    for endpoint in monitors[0]["spec"]["podMetricsEndpoints"]:
        theirs = [{_snake(key): value for key, value in rule.items()} for rule in endpoint["metricRelabelings"]]
        assert theirs == ours
    names = {monitor["metadata"]["name"] for monitor in monitors}
    assert names == {job["job_name"] for job in config["scrape_configs"]}


def test_kubernetes_takes_every_dashboard() -> None:
    found = yaml.safe_load((ROOT / "monitoring/kustomization.yaml").read_text())
    files = {file for entry in found["configMapGenerator"] for file in entry["files"]}
    assert files == {f"grafana/{board.uid}.json" for board in BOARDS}


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z])([A-Z])", r"_\1", name).lower()
