"""What Prometheus' own tool says of the committed configuration and rules, and of their unit tests."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from metrics_asked import alerts, recordings
from services.prometheus import require_prometheus

FOLDER = Path(__file__).parents[2] / "monitoring/prometheus"


@pytest.fixture(autouse=True)
def _promtool() -> None:
    require_prometheus()


def promtool(*arguments: str, folder: Path = FOLDER) -> tuple[int, str]:
    """Exit code and all it says."""
    done = subprocess.run(["promtool", *arguments], cwd=folder, capture_output=True, text=True, timeout=120)
    return done.returncode, done.stdout + done.stderr


def test_configuration_and_rules_are_valid() -> None:
    for arguments in ("config prometheus.yml", "rules rules.yaml"):
        code, said = promtool("check", *arguments.split())
        assert code == 0, said
    assert f"{len(alerts()) + len(recordings())} rules found" in said


def test_rules_fire_where_they_should_and_nowhere_else() -> None:
    code, said = promtool("test", "rules", "rules_test.yaml")
    assert code == 0, said


def test_a_changed_rule_fails_its_tests(tmp_path: Path) -> None:
    rules = (FOLDER / "rules.yaml").read_text()
    assert "> 0.05" in rules
    (tmp_path / "rules.yaml").write_text(rules.replace("> 0.05", "> 0.5"))
    shutil.copy(FOLDER / "rules_test.yaml", tmp_path)
    assert promtool("test", "rules", "rules_test.yaml", folder=tmp_path)[0] == 1
