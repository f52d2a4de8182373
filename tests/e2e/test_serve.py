"""`wanfarm serve` end to end with the fake backend: it starts, answers, renders, cancels, scales, and goes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from e2e_farm import wait_until
from e2e_folders import write_fake_folder
from served import SMALL, Served


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One server for all that leaves it whole."""
    folder = tmp_path_factory.mktemp("served")
    model = write_fake_folder(folder / "fake")
    server = Served(folder, model=str(model), environment={"WANFARM_ENGINE": "farm.workers.fake:FakeBackend"})
    server.start("--workers", "2")
    yield server
    server.end()


def test_it_answers_and_makes_a_clip(served: Served) -> None:
    assert served.ask("GET", "/healthz")[0] == 200
    assert served.ask("GET", "/")[0] == 200

    job_id = served.submit("a red circle", seed=1)
    video = served.await_status(job_id, "completed")

    status, content = served.ask("GET", f"/v1/videos/{job_id}/content")
    assert (status, content[4:8]) == (200, b"ftyp")
    assert video["clip_id"] in served.committed()
