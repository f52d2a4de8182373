"""A server that is killed to its last process, or told to stop, has lost nothing when it is started again."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from e2e_farm import wait_until
from e2e_folders import write_fake_folder
from served import Served

NUM_JOBS = 20


def test_kill_everything_then_stop_and_start_again(tmp_path: Path) -> None:
    model = write_fake_folder(tmp_path / "fake")
    served = Served(tmp_path, model=str(model), environment={"WANFARM_ENGINE": "farm.workers.fake:FakeBackend"})
    try:
        _killed_in_the_middle(served)
        _told_to_stop_with_a_clip_in_work(served)
    finally:
        served.end()


def _killed_in_the_middle(served: Served) -> None:
    served.start(auth=True)
    (key,) = [line.split()[-1] for line in served.said if line.startswith("admin key")]
    assert served.ask("GET", "/v1/videos")[0] == 401
    served.key = key
    job_ids = served.submit_many(NUM_JOBS, slow_s=0.6)
    wait_until(lambda: len(served.committed()) >= 5, timeout_s=60, what="five clips")
    stamps = {path: path.stat().st_mtime_ns for path in Path(served.out, "clips").rglob("*.json")}

    assert served.kill_all() > 10
    assert len(served.committed()) < NUM_JOBS
    served.start(auth=True)

    assert not any("admin key" in line for line in served.said)
    assert served.await_ends(job_ids, timeout_s=90) == {"completed": NUM_JOBS}
    _assert_each_once(served, job_ids)
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps  # what was made was not made again


def _told_to_stop_with_a_clip_in_work(served: Served) -> None:
    job_id = served.submit("put down and gone on with fake:slow=8", seed=99)
    wait_until(lambda: (served.video(job_id)["step"] or 0) >= 1, timeout_s=30, what="its first step")

    assert served.stop() == 0
    assert not list(Path(served.out, "open").glob("*.tmp"))
    served.start(auth=True)

    video = served.await_status(job_id, "completed", timeout_s=60)
    (record,) = [record for record in served.records() if record["clip_id"] == video["clip_id"]]
    assert record["resumed_at"]
    assert record["attempts"] == 1
    assert served.stop() == 0


def _assert_each_once(served: Served, job_ids: list[str]) -> None:
    videos = [served.video(job_id) for job_id in job_ids]
    clips = Counter(video["clip_id"] for video in videos)
    records = Counter(record["clip_id"] for record in served.records())
    assert len(clips) == NUM_JOBS
    assert records == clips
    assert all(served.ask("GET", f"/v1/videos/{job_id}/content")[0] == 200 for job_id in job_ids)
