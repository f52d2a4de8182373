"""The image's definition: what it copies is there, and its versions are those tested. It is built elsewhere."""

from __future__ import annotations

import fnmatch
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest

from k8s.checks.overlays import HERE
from k8s.checks.rendering import rendered

ROOT = HERE.parent
TEXT = (HERE / "image/Containerfile").read_text()
COPIES = [line.split()[1:] for line in TEXT.splitlines() if line.startswith("COPY ") and "--from" not in line]
SOURCES = [source for copy in COPIES for source in copy[:-1]]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PACKAGES = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]


@pytest.mark.parametrize("source", SOURCES)
def test_what_is_copied_is_there_and_sent_to_the_builder(source: str) -> None:
    assert (ROOT / source).exists()
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    allowed = [line[1:] for line in lines if line.startswith("!")]
    assert any(source == line or fnmatch.fnmatch(source, f"{line}/*") for line in allowed)


def test_every_package_of_the_project_is_in_it() -> None:
    assert set(PACKAGES) <= set(SOURCES)


def test_what_is_copied_makes_the_whole_package(tmp_path: Path) -> None:
    """The embedded model and the console among it."""
    for source in SOURCES[:-1]:  # the last are the examples
        copy = shutil.copytree if (ROOT / source).is_dir() else shutil.copy
        copy(ROOT / source, tmp_path / source)
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", "wheel"]
    subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=120, check=True)
    (wheel,) = (tmp_path / "wheel").glob("*.whl")
    inside = set(zipfile.ZipFile(wheel).namelist())
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    assert {path for path in tracked if path.partition("/")[0] in PACKAGES} <= inside


def test_torch_is_the_one_that_is_tested() -> None:
    (own,) = re.findall(r"^ARG TORCH=(\S+)$", TEXT, re.MULTILINE)
    (tested,) = re.findall(r"^TORCH \?= (\S+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert own == tested


def test_the_lock_bounds_what_is_installed() -> None:
    assert "pip install --constraint requirements.lock '.[traces]'" in TEXT
    locked = dict(line.split("==") for line in (ROOT / "requirements.lock").read_text().split())
    assert locked["ray"] == version("ray")
    names = {re.split(r"[\[><=]", name)[0].lower() for name in PROJECT["project"]["dependencies"]}
    assert names - {name.lower().replace("_", "-") for name in locked} <= {"torch"}


def test_it_runs_as_the_user_that_pods_name() -> None:
    (user,) = re.findall(r"^USER (\d+):\d+$", TEXT, re.MULTILINE)
    objects = rendered(HERE / "overlays/dev/cluster")
    (cluster,) = [found for found in objects if found["kind"] == "RayCluster"]
    assert cluster["spec"]["headGroupSpec"]["template"]["spec"]["securityContext"]["runAsUser"] == int(user)
    assert "HOME=/home/farm" in TEXT
    assert not re.search(r"\.(safetensors|pth)", TEXT)


def test_kuberay_finds_what_it_calls() -> None:
    """`ray` and `wget`, on the PATH that a login shell has."""
    final = TEXT.rpartition("\nFROM ")[2]
    assert "COPY --from=packages /usr/local /usr/local" in final
    assert re.search(r"apt-get install .*\bwget\b", final)
    assert final.index("USER ") > final.index("COPY ")


def test_tags_in_comments_and_manifests_are_of_this_version() -> None:
    tags = set(re.findall(r"wanfarm:(\S+)", TEXT))
    for path in Path(HERE).rglob("*.yaml"):
        tags |= set(re.findall(r"image: wanfarm:(\S+)", path.read_text()))
    prefix = f"{PROJECT['project']['version']}-ray{version('ray')}"
    assert tags == {f"{prefix}-cpu", f"{prefix}-cuda"}
