"""docs/guides/api.md: what it shows is run, block by block, as it stands there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from online_farm import OnlineFarm

from deployments.api.settings import ApiSettings

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "docs" / "guides" / "api.md"
BLOCKS = re.findall(r"```(python|bash)\n(.*?)```", GUIDE.read_text(), re.DOTALL)
SCRIPTS = [(kind, text) for kind, text in BLOCKS if not text.startswith("export")]


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OnlineFarm]:
    with OnlineFarm.start(tmp_path_factory.mktemp("guide") / "out", api=ApiSettings()) as started:
        first = {"prompt": "a red circle"}
        with started.finishing(), started.client(started.key()) as client:
            client.post("/v1/videos", json=first)
            yield started


def test_the_guide_has_something_to_run() -> None:
    assert [kind for kind, _ in SCRIPTS].count("python") >= 4
    assert [kind for kind, _ in SCRIPTS].count("bash") >= 2


@pytest.mark.parametrize("number", range(len(SCRIPTS)))
def test_what_the_guide_shows(farm: OnlineFarm, tmp_path: Path, number: int) -> None:
    kind, text = SCRIPTS[number]
    if kind == "bash" and shutil.which("curl") is None:
        pytest.skip("there is no curl on this machine")
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    environment = {**os.environ, "OPENAI_BASE_URL": f"{farm.base_url}/v1", "OPENAI_API_KEY": farm.key()}
    command = [sys.executable, "-c", text] if kind == "python" else ["bash", "-euo", "pipefail", "-c", text]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=60, cwd=tmp_path, env=environment, check=False
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert '"error":{' not in done.stdout, done.stdout
