"""The operations guide: its overlay renders and passes, its commands are commands, and no overlay is left out."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from jobs.cli import app
from k8s.checks.checking import faults_of
from k8s.checks.objects import clusters, pods
from k8s.checks.overlays import HERE, OVERLAYS
from k8s.checks.rendering import rendered

ROOT = HERE.parent
GUIDE = (ROOT / "docs/guides/operations.md").read_text()


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """The guide's own overlay, beside the project's manifests."""
    (tmp_path / "k8s").symlink_to(HERE)
    folder = tmp_path / "mine/service"
    folder.mkdir(parents=True)
    (text,) = re.findall(r"```yaml\n(.+?)```", GUIDE, re.DOTALL)
    (folder / "kustomization.yaml").write_text(text)
    return folder


def test_the_overlay_of_your_own_passes(mine: Path) -> None:
    objects = rendered(mine)
    assert faults_of(objects) == []
    (cluster,) = clusters(objects)
    assert {group.name: group.max_pods for group in cluster.groups} == {"text": 2, "gangs": 12}
    assert all(pod.main["image"].startswith("registry.example.com/wanfarm:") for pod in pods(objects))


def test_there_are_ten_commands_and_no_more() -> None:
    (block,) = [found for found in re.findall(r"```bash\n(.+?)```", GUIDE, re.DOTALL) if "# 10." in found]
    lines = block.strip().splitlines()
    assert [int(re.findall(r"# (\d+)\.", line)[0]) for line in lines] == list(range(1, 11))
    for folder in re.findall(r"-k (k8s/\S+|monitoring)", block):
        assert (ROOT / folder / "kustomization.yaml").exists()


def test_every_overlay_is_told_of() -> None:
    told = set(re.findall(r"^\| `([a-z-]+)` \|", GUIDE, re.MULTILINE))
    assert told == {found.parent.name for found in OVERLAYS}


@pytest.mark.parametrize("line", sorted(set(re.findall(r"`(wanfarm [a-z].+?)`", GUIDE))))
def test_commands_of_the_farm_are_commands(line: str) -> None:
    words = [word for word in shlex.split(line)[1:] if word != "..."]
    assert words[0] in set(app), line
    found = app[words[0]]
    if words[0] == "keys":
        found = found[words[1]]
    flags = {name for argument in found.assemble_argument_collection() for name in argument.names}
    assert {word for word in words if word.startswith("--")} <= flags
