"""What the service counts of the requests for videos, and a renderer of its jobs."""

from __future__ import annotations

from pathlib import Path

from online_farm import OnlineFarm

from deployments.api.settings import ApiSettings, LimitSettings
from farm.metrics import JOB_SECONDS, JOB_WAIT_SECONDS, SUBMISSIONS
from farm.settings import Settings


def test_submissions_by_what_became_of_them(tmp_path: Path) -> None:
    api = ApiSettings(is_open=True, limits=LimitSettings(max_open_jobs=2))
    with OnlineFarm.start(tmp_path, api=api) as farm, farm.client() as client:
        assert set(farm.meter.of(SUBMISSIONS).values()) == {0.0}  # there before the first of them

        def ask(prompt: str, **headers: str) -> int:
            return client.post("/v1/videos", json={"prompt": prompt, "seed": 1}, headers=headers).status_code

        key = {"Idempotency-Key": "k1"}
        assert ask("a red ball", **key) == ask("a red ball", **key) == 200
        (job_id,) = farm.store.open_ids()
        assert ask("a blue ball") == 200
        assert ask("a green ball") == 429
        farm.finish(job_id)
        assert ask("a red ball") == 200
        assert farm.meter.of(SUBMISSIONS) == {("queued",): 2, ("repeated",): 1, ("answered",): 1, ("limited",): 1}


def test_jobs_by_how_long_they_waited_and_took(tmp_path: Path) -> None:
    settings = Settings(engine="farm.workers.fake:FakeBackend", cache_dir=tmp_path / "cache")
    with OnlineFarm.start(tmp_path / "out", settings=settings) as farm, farm.client() as client:
        good, bad = (
            client.post("/v1/videos", json={"prompt": prompt}).json()["id"] for prompt in ("a ball", "fake:input")
        )
        with farm.rendering():
            for job_id in (good, bad):
                while client.get(f"/v1/videos/{job_id}").json()["status"] in ("queued", "in_progress"):
                    pass
    assert farm.meter.counts[(JOB_WAIT_SECONDS.name, "nano")] == 2
    assert {labels for labels, _ in farm.meter.of(JOB_SECONDS).items()} == {("completed", "nano"), ("failed", "nano")}
