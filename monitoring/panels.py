"""Panels and dashboards as Grafana's JSON (its schema of 2022 and later, which Grafana 9 to 13 read)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Json = dict[str, Any]
Kind = Literal["timeseries", "stat", "bargauge", "heatmap", "table"]

SCHEMA_VERSION = 39
COLUMNS = 24
SOURCE: Json = {"type": "prometheus", "uid": "${datasource}"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """One expression of a panel.

    Args:
        legend: with labels in double braces; empty shows them all.
        why_empty: the reason for which it may have no data on a farm that works; None: it must have some.
    """

    expr: str
    legend: str = ""
    why_empty: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """One panel.

    Args:
        about: what it shows and how to read it.
        unit: Grafana's name of it ("s", "percentunit", "clips/min" as a suffix:...).
        steps: thresholds as (from, colour), the first from None; a time series shows them as dashed lines.
        is_stacked: areas upon each other.
    """

    title: str
    about: str
    queries: Sequence[Query]
    kind: Kind = "timeseries"
    unit: str = "short"
    width: int = 8
    height: int = 8
    is_stacked: bool = False
    max_value: float | None = None
    decimals: int | None = None
    steps: Sequence[tuple[float | None, str]] = ((None, "green"),)

    def to_json(self, number: int, *, x: int, y: int) -> Json:
        """As the number-th panel of its dashboard, at that place."""
        defaults: Json = {
            "unit": self.unit,
            "min": 0,
            "color": {"mode": "thresholds" if self.kind in ("stat", "bargauge") else "palette-classic"},
            "thresholds": {
                "mode": "absolute",
                "steps": [{"value": value, "color": colour} for value, colour in self.steps],
            },
            "custom": self._custom(),
        }
        if self.max_value is not None:
            defaults["max"] = self.max_value
        if self.decimals is not None:
            defaults["decimals"] = self.decimals
        return {
            "id": number,
            "type": self.kind,
            "title": self.title,
            "description": self.about,
            "datasource": SOURCE,
            "gridPos": {"x": x, "y": y, "w": self.width, "h": self.height},
            "targets": [self._target(place, query) for place, query in enumerate(self.queries)],
            "fieldConfig": {"defaults": defaults, "overrides": []},
            "options": self._options(),
        }

    def _target(self, place: int, query: Query) -> Json:
        is_table = self.kind in ("stat", "bargauge", "table")
        return {
            "refId": chr(ord("A") + place),
            "datasource": SOURCE,
            "expr": query.expr,
            "legendFormat": query.legend or "__auto",
            "range": not is_table,
            "instant": is_table,
            "format": "heatmap" if self.kind == "heatmap" else "time_series",
        }

    def _custom(self) -> Json:
        if self.kind != "timeseries":
            return {}
        return {
            "drawStyle": "line",
            "lineWidth": 1,
            "fillOpacity": 30 if self.is_stacked else 8,
            "showPoints": "never",
            "spanNulls": False,
            "thresholdsStyle": {"mode": "dashed" if len(self.steps) > 1 else "off"},
            "stacking": {"mode": "normal" if self.is_stacked else "none", "group": "A"},
        }

    def _options(self) -> Json:
        match self.kind:
            case "timeseries":
                return {
                    "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []},
                    "tooltip": {"mode": "multi", "sort": "desc"},
                }
            case "stat" | "bargauge":
                reduced = {"calcs": ["lastNotNull"], "fields": "", "values": False}
                return {"reduceOptions": reduced, "orientation": "auto"}
            case "heatmap":
                return {
                    "calculate": False,
                    "yAxis": {"unit": self.unit},
                    "color": {"mode": "scheme", "scheme": "Oranges"},
                }
            case _:
                return {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Panels under one heading, side by side as they fit."""

    title: str
    panels: Sequence[Panel]


@dataclass(frozen=True, slots=True, kw_only=True)
class Dashboard:
    """A dashboard; `uid` names its file and its address in Grafana."""

    uid: str
    title: str
    about: str
    rows: Sequence[Row] = field(default_factory=tuple)

    @property
    def panels(self) -> list[Panel]:
        return [panel for row in self.rows for panel in row.panels]

    def to_json(self) -> Json:
        """All of it."""
        return {
            "uid": self.uid,
            "title": self.title,
            "description": self.about,
            "tags": ["wanfarm"],
            "schemaVersion": SCHEMA_VERSION,
            "version": 1,
            "editable": True,
            "graphTooltip": 1,
            "timezone": "browser",
            "refresh": "30s",
            "time": {"from": "now-3h", "to": "now"},
            "templating": {"list": _variables()},
            "annotations": {"list": [_alerts_that_fired()]},
            "links": [_to_the_others()],
            "panels": self._placed(),
        }

    def _placed(self) -> list[Json]:
        placed: list[Json] = []
        y = 0
        for row in self.rows:
            placed.append(
                {
                    "id": len(placed) + 1,
                    "type": "row",
                    "title": row.title,
                    "collapsed": False,
                    "gridPos": {"x": 0, "y": y, "w": COLUMNS, "h": 1},
                    "panels": [],
                }
            )
            y += 1
            x, tallest = 0, 0
            for panel in row.panels:
                if x + panel.width > COLUMNS:
                    x, y, tallest = 0, y + tallest, 0
                placed.append(panel.to_json(len(placed) + 1, x=x, y=y))
                x, tallest = x + panel.width, max(tallest, panel.height)
            y += tallest
        return placed


def _variables() -> list[Json]:
    return [
        {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus", "hide": 0},
        _choice("cluster", "Cluster", "label_values(ray_cluster_active_nodes, cluster)"),
        _choice("model", "Model", 'label_values(farm_clips_total{cluster=~"$cluster"}, model)'),
    ]


def _choice(name: str, label: str, query: str) -> Json:
    return {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": SOURCE,
        "query": {"query": query, "refId": name},
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
        "hide": 0,
    }


def _alerts_that_fired() -> Json:
    return {
        "name": "Alerts",
        "enable": True,
        "iconColor": "red",
        "datasource": SOURCE,
        "target": {"refId": "Anno", "expr": 'ALERTS{alertname=~"Farm.*",alertstate="firing",cluster=~"$cluster"}'},
        "titleFormat": "{{alertname}}",
        "textFormat": "{{cluster}} {{model}}",
    }


def _to_the_others() -> Json:
    return {
        "title": "wanfarm",
        "type": "dashboards",
        "tags": ["wanfarm"],
        "asDropdown": True,
        "includeVars": True,
        "keepTime": True,
        "targetBlank": False,
        "icon": "external link",
        "tooltip": "",
        "url": "",
    }
