"""A farm to try: the real command in processes of its own, with a fake or a tiny model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from e2e_farm import Farm
from e2e_folders import write_fake_folder


@pytest.fixture(scope="session")
def fake_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that the planner takes for a model; only the fake backend can render it."""
    return write_fake_folder(tmp_path_factory.mktemp("models") / "fake")


@pytest.fixture
def farm(tmp_path: Path, fake_model: Path) -> Iterator[Farm]:
    """The fake backend: everything but the pixels is real."""
    farm = Farm(tmp_path, model=str(fake_model), environment={"WANFARM_ENGINE": "farm.workers.fake:FakeBackend"})
    yield farm
    farm.stop_all()
