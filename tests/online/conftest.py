"""Farms for the online tests: a fresh output and server for each test (a tenth of a second), without renderers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from online_farm import OnlineFarm

from deployments.api.settings import ApiSettings


@pytest.fixture
def farm(tmp_path: Path) -> Iterator[OnlineFarm]:
    """Keys are asked for."""
    with OnlineFarm.start(tmp_path / "out", api=ApiSettings()) as started:
        yield started


@pytest.fixture
def client(farm: OnlineFarm) -> Iterator[httpx2.Client]:
    """With a key of the project "default"."""
    with farm.client(farm.key()) as opened:
        yield opened


@pytest.fixture
def admin(farm: OnlineFarm) -> Iterator[httpx2.Client]:
    with farm.client(farm.key("office", scopes=("submit", "read", "admin"))) as opened:
        yield opened
