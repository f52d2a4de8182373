"""A server with 500 jobs is killed to its last process in the middle; then each of its parts is killed under load."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from e2e_farm import wait_until
from e2e_folders import write_fake_folder
from served import Served

NUM_JOBS = 500
NUM_UNDER_LOAD = 40
PARTS = (
    "ServeReplica:wanfarm:dispatcher",
    "ServeReplica:wanfarm:renderer",
    "ServeReplica:wanfarm:api",
    "ServeController",
)

pytestmark = pytest.mark.chaos


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    model = write_fake_folder(tmp_path / "fake")
    served = Served(tmp_path, model=str(model), environment={"WANFARM_ENGINE": "farm.workers.fake:FakeBackend"})
    served.start()
    yield served
    served.end()


def test_500_jobs_outlive_every_process(served: Served) -> None:
    job_ids = served.submit_many(NUM_JOBS, slow_s=0.05)
    wait_until(lambda: len(served.committed()) >= NUM_JOBS // 10, timeout_s=300, what="a tenth of the clips")
    num_before, num_killed = len(served.committed()), served.kill_all()
    begun_s = time.monotonic()
    served.start()
    ready_s = time.monotonic() - begun_s
    assert served.await_ends(job_ids, timeout_s=900) == {"completed": NUM_JOBS}
    records = Counter(record["clip_id"] for record in served.records())
    assert records == Counter(served.video(job_id)["clip_id"] for job_id in job_ids)
    assert len(records) == NUM_JOBS
    assert {record["attempts"] for record in served.records()} == {1}
    assert served.ask("GET", f"/v1/videos/{job_ids[0]}/content")[0] == 200
    print(f"\n{num_before} of {NUM_JOBS} were made when {num_killed} processes were killed; ready again after "
          f"{ready_s:.0f} s; {NUM_JOBS} completed, each once")  # fmt: skip


def test_each_part_may_die_under_load(served: Served) -> None:
    for number, part in enumerate(PARTS):
        prompt = f"under load {number} fake:slow=0.2"
        job_ids = [served.submit(prompt, seed=seed) for seed in range(NUM_UNDER_LOAD)]
        wait_until(lambda ids=job_ids: served.status(ids[0]) != "queued", timeout_s=60, what="the first")  # type: ignore[misc]
        num_killed = served.kill(part)
        assert num_killed, f"no process {part}"
        begun_s = time.monotonic()
        assert served.await_ends(job_ids, timeout_s=300) == {"completed": NUM_UNDER_LOAD}
        print(f"\n{part}: {num_killed} killed; all {NUM_UNDER_LOAD} completed {time.monotonic() - begun_s:.0f} s later")
    records = Counter(record["clip_id"] for record in served.records())
    assert len(records) == NUM_UNDER_LOAD * len(PARTS)
    assert set(records.values()) == {1}
