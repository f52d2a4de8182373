"""Every dashboard is what Grafana's own types allow, and these types refuse what Grafana would not understand.

`make grafana-test`; needs npm, which fetches @grafana/schema and a TypeScript compiler.
"""

from __future__ import annotations

import copy
import json
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from services.endpoint import skip_or_fail

from monitoring.boards import BOARDS

HERE = Path(__file__).parent
DASHBOARDS = Path(__file__).parents[2] / "monitoring/grafana"
Json = dict[str, Any]


@pytest.fixture(scope="module")
def compiler(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with Grafana's types and a compiler."""
    if shutil.which("npm") is None:
        skip_or_fail("npm", "there is no npm to fetch Grafana's types with")
    folder = tmp_path_factory.mktemp("grafana")
    for name in ("package.json", "package-lock.json", "tsconfig.json", "dashboard.ts"):
        shutil.copy(HERE / name, folder)
    fetched = subprocess.run(
        ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=folder, capture_output=True, text=True
    )
    assert fetched.returncode == 0, fetched.stderr
    return folder


def errors_of(compiler: Path, boards: Mapping[str, Json]) -> dict[str, str]:
    """What the compiler has against each of them, by name."""
    for path in compiler.glob("board_*.ts"):
        path.unlink()
    for name, board in boards.items():
        (compiler / f"board_{name}.ts").write_text(
            f"import type {{ Board }} from './dashboard';\nexport const board: Board = {json.dumps(board)};\n"
        )
    done = subprocess.run(
        ["node", "node_modules/typescript/bin/tsc", "--pretty", "false"], cwd=compiler, capture_output=True, text=True
    )
    errors = dict(re.findall(r"^board_(\w+)\.ts(.+(?:\n .+)*)", done.stdout, re.MULTILINE))
    assert bool(errors) == (done.returncode != 0), done.stdout + done.stderr
    return errors


def test_dashboards_are_what_grafana_reads(compiler: Path) -> None:
    committed = {path.stem.replace("-", "_"): json.loads(path.read_text()) for path in DASHBOARDS.glob("*.json")}
    assert len(committed) == len(BOARDS)
    assert errors_of(compiler, committed) == {}


def panel(board: Json, kind: str) -> Json:
    return next(one for one in board["panels"] if one["type"] == kind)


BROKEN: dict[str, Callable[[Json], object]] = {
    "height_is_a_word": lambda board: panel(board, "stat")["gridPos"].update(h="nine"),
    "kind_unknown": lambda board: panel(board, "stat").update(type="graph"),
    "option_unknown": lambda board: panel(board, "timeseries")["options"]["legend"].update(shown=True),
    "option_wrong": lambda board: panel(board, "timeseries")["options"]["tooltip"].update(mode="all"),
    "colours_wrong": lambda board: panel(board, "stat")["fieldConfig"]["defaults"]["color"].update(mode="classic"),
    "custom_unknown": lambda board: panel(board, "timeseries")["fieldConfig"]["defaults"]["custom"].update(width=1),
    "stacking_wrong": lambda board: panel(board, "timeseries")["fieldConfig"]["defaults"]["custom"].update(
        stacking=True
    ),
    "target_without_a_name": lambda board: panel(board, "stat")["targets"][0].pop("refId"),
    "source_is_a_word": lambda board: panel(board, "stat").update(datasource="prometheus"),
    "options_of_another_kind": lambda board: panel(board, "stat").update(options={"yAxis": {"unit": "s"}}),
    "row_without_panels": lambda board: panel(board, "row").pop("panels"),
    "variable_kind_unknown": lambda board: board["templating"]["list"][0].update(type="source"),
    "annotation_without_colour": lambda board: board["annotations"]["list"][0].pop("iconColor"),
    "tooltip_wrong": lambda board: board.update(graphTooltip="shared"),
    "no_schema_version": lambda board: board.pop("schemaVersion"),
}


def test_what_grafana_would_not_read_is_refused(compiler: Path) -> None:
    whole = BOARDS[0].to_json()
    variants = {"whole": whole} | {name: copy.deepcopy(whole) for name in BROKEN}
    for name, break_it in BROKEN.items():
        break_it(variants[name])
    assert set(errors_of(compiler, variants)) == set(BROKEN)
