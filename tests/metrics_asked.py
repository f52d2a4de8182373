"""Every expression of every panel and rule, asked of a Prometheus that has watched a farm."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from services.prometheus import Curve, Prometheus

from monitoring.boards import BOARDS
from monitoring.panels import Dashboard, Panel, Query
from monitoring.rules import Alert, Recording, groups

# What Grafana puts in for a look at the whole time; scrapes are a second apart.
VARIABLES = {"$__rate_interval": "15s", "$cluster": ".*", "$model": ".*"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a panel's query was through the time."""

    board: Dashboard
    panel: Panel
    query: Query
    curves: tuple[Curve, ...]

    @property
    def name(self) -> str:
        return f"{self.board.title} / {self.panel.title}: {self.query.legend or self.query.expr}"


def asked(expr: str, *, range_s: float) -> str:
    """An expression as Grafana would send it."""
    for name, value in {**VARIABLES, "$__range": f"{int(range_s)}s"}.items():
        expr = expr.replace(name, value)
    return expr


def ask_panels(prometheus: Prometheus, *, range_s: float) -> Iterator[Answer]:
    """Every query of every dashboard."""
    for board in BOARDS:
        for panel in board.panels:
            for query in panel.queries:
                curves = prometheus.curves(asked(query.expr, range_s=range_s))
                yield Answer(board=board, panel=panel, query=query, curves=tuple(curves))


def recordings() -> list[Recording]:
    return [rule for group in groups() for rule in group.rules if isinstance(rule, Recording)]


def alerts() -> list[Alert]:
    return [rule for group in groups() for rule in group.rules if isinstance(rule, Alert)]


def config_for(committed: dict[str, Any], *, rules: Path, batch: Path, online: Path, run_port: int) -> dict[str, Any]:
    """The committed configuration with a scrape every second and a cluster for each door.

    Args:
        batch, online: files in which the agents of their clusters are found.
    """
    ray, run = (dict(job) for job in committed["scrape_configs"])
    ray.pop("static_configs")
    served = ray | {"job_name": "served", "file_sd_configs": [{"files": [str(online)], "refresh_interval": "2s"}]}
    ray |= {"file_sd_configs": [{"files": [str(batch)], "refresh_interval": "2s"}]}
    run |= {"static_configs": [{"targets": [f"127.0.0.1:{run_port}"]}]}
    for job, cluster in ((ray, "batch"), (run, "batch"), (served, "online")):
        job["relabel_configs"] = [
            {**rule, "replacement": cluster} if rule["target_label"] == "cluster" else rule
            for rule in job["relabel_configs"]
        ]
    fast = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
    return {"global": fast, "rule_files": [str(rules)], "scrape_configs": [ray, run, served]}
