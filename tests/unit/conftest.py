"""What several unit tests begin with."""

from __future__ import annotations

from pathlib import Path

import pytest
from example_run import make_run

from farm.settings import Settings
from farm.storage import LocalStorage


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(cache_dir=tmp_path / "cache")


@pytest.fixture
def local_run(tmp_path: Path) -> LocalStorage:
    out = LocalStorage(tmp_path / "out")
    make_run(out, tmp_path)
    return out
