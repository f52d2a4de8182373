"""Two dispatchers at work on one output at once, as in the moment when a lease passes over: nothing is made twice."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from e2e_folders import write_fake_folder
from online_farm import OnlineFarm, eventually

from deployments.config import ModelConfig
from farm.ledger import read_records
from farm.metrics import JOB_SECONDS
from farm.settings import Settings

NUM_JOBS = 40


def test_two_dispatchers_at_once_never_run_a_job_twice(tmp_path: Path) -> None:
    model = ModelConfig(model=str(write_fake_folder(tmp_path / "fake")))
    settings = Settings(engine="farm.workers.fake:FakeBackend", cache_dir=tmp_path / "cache")
    with ExitStack() as stack:
        farms = [
            stack.enter_context(OnlineFarm.start(tmp_path / "out", settings=settings, models=[model])) for _ in range(2)
        ]
        for farm in farms:
            stack.enter_context(farm.rendering(num_renderers=2))
        asked = {"size": "32x32", "num_frames": 5, "num_inference_steps": 4}
        job_ids = [
            farms[number % 2]
            .client()
            .post("/v1/videos", json={"prompt": "two at once fake:slow=0.1", "seed": number, **asked})
            .json()["id"]
            for number in range(NUM_JOBS)
        ]
        store = farms[0].store
        eventually(lambda: not store.open_ids(), timeout_s=60)

        states = [store.state(job_id) for job_id in job_ids]

    shares = [farm.meter.counts.get((JOB_SECONDS.name, "completed", "fake"), 0) for farm in farms]
    assert [state.status for state in states] == ["completed"] * NUM_JOBS
    assert [state.epoch for state in states] == [1] * NUM_JOBS  # each was claimed once
    assert not any(state.from_ledger for state in states)
    assert sum(shares) == NUM_JOBS
    assert min(shares) > 0  # both were at work
    assert [record["attempts"] for record in read_records(store.storage)] == [1] * NUM_JOBS
