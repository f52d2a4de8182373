"""The files that others read, and what belongs into them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from monitoring.boards import BOARDS
from monitoring.rules import Group, groups

HERE = Path(__file__).parent
HEADER = "# Written by `python -m monitoring`; edit monitoring/*.py instead.\n"


def generated() -> dict[Path, str]:
    """Every generated file with its content."""
    found = groups()
    dashboards = {HERE / "grafana" / f"{board.uid}.json": _json(board.to_json()) for board in BOARDS}
    return {
        **dashboards,
        HERE / "prometheus" / "rules.yaml": rules_file(found),
        HERE / "prometheusrule.yaml": HEADER + _yaml(_prometheus_rule(found)),
    }


def rules_file(found: tuple[Group, ...]) -> str:
    """As Prometheus' `rule_files` takes it."""
    return HEADER + _yaml({"groups": [group.to_json() for group in found]})


def _prometheus_rule(found: tuple[Group, ...]) -> dict[str, Any]:
    """As the Prometheus operator takes it."""
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "wanfarm", "labels": {"app.kubernetes.io/part-of": "wanfarm", "release": "prometheus"}},
        "spec": {"groups": [group.to_json() for group in found]},
    }


def _json(value: Any) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False) + "\n"


def _yaml(value: Any) -> str:
    return str(yaml.safe_dump(value, sort_keys=False, width=2**16, allow_unicode=True))
