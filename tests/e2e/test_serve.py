"""`wanfarm serve` end to end with the fake backend: clips, cancellations, and parts that are killed under it."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from e2e_farm import wait_until
from e2e_folders import write_fake_folder
from served import Served

# Of four steps.
SLOW_S = 8.0
STEP_S = SLOW_S / 4


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One server for all; whatever is killed, it mends."""
    folder = tmp_path_factory.mktemp("served")
    model = write_fake_folder(folder / "fake")
    server = Served(folder, model=str(model), environment={"WANFARM_ENGINE": "farm.workers.fake:FakeBackend"})
    server.start("--workers", "2")
    yield server
    server.end()


def test_it_answers_and_makes_a_clip(served: Served) -> None:
    assert served.ask("GET", "/healthz")[0] == 200
    assert b"<html" in served.ask("GET", "/")[1]

    job_id = served.submit("a red circle", seed=1)
    video = served.await_status(job_id, "completed")

    status, content = served.ask("GET", f"/v1/videos/{job_id}/content")
    assert (status, content[4:8]) == (200, b"ftyp")
    assert video["clip_id"] in served.committed()


def test_a_prompt_that_cannot_be_encoded_fails_and_holds_nobody_up(served: Served) -> None:
    job_id, after = served.submit("fake:text", seed=9), served.submit("the next one", seed=9)
    video = served.await_status(job_id, "failed", timeout_s=30)
    assert video["error"]["code"] == "text_failed"
    assert "Traceback" not in video["error"]["message"]
    served.await_status(after, "completed")


def test_a_cancelled_job_stops_within_a_step(served: Served) -> None:
    job_id = served.submit(f"a clip to cancel fake:slow={SLOW_S}", seed=2)
    wait_until(lambda: (served.video(job_id)["step"] or 0) >= 1, timeout_s=30, what="its first step")

    begun_s = time.monotonic()
    assert served.ask("POST", f"/v1/videos/{job_id}/cancel")[0] == 200
    video = served.await_status(job_id, "cancelled", "completed")
    took_s = time.monotonic() - begun_s

    assert video["status"] == "cancelled"
    assert took_s < STEP_S + 1.5
    assert video["clip_id"] not in served.committed()
    assert served.status(served.submit("whoever is next", seed=3)) in ("queued", "in_progress", "completed")


def test_with_the_dispatcher_killed_people_are_served_and_clips_end(served: Served) -> None:
    before = served.submit("made before", seed=4)
    served.await_status(before, "completed")
    running = served.submit(f"in work fake:slow={SLOW_S}", seed=5)
    served.await_status(running, "in_progress")

    assert served.kill("ServeReplica:wanfarm:dispatcher") == 1

    waits = list[float]()
    for number in range(5):  # nobody is told of these but the storage
        begun_s = time.monotonic()
        after = served.submit("submitted meanwhile", seed=number)
        waits.append(time.monotonic() - begun_s)
    assert max(waits) < 2.0
    assert served.status(before) == "completed"
    assert served.ask("GET", f"/v1/videos/{before}/content")[0] == 200
    assert served.ask("GET", "/v1/videos?limit=5")[0] == 200

    served.await_status(running, "completed", timeout_s=30)
    served.await_status(after, "completed", timeout_s=60)
    assert [
        record["attempts"] for record in served.records() if record["clip_id"] == served.video(running)["clip_id"]
    ] == [1]


def test_a_killed_renderers_clip_goes_on_elsewhere(served: Served) -> None:
    job_id = served.submit(f"a clip that outlives its renderer fake:slow={SLOW_S}", seed=6)
    wait_until(lambda: (served.video(job_id)["step"] or 0) >= 1, timeout_s=30, what="its first step")

    assert served.kill("ServeReplica:wanfarm:renderer-fake") == 1  # one gang is there while nobody waits long

    video = served.await_status(job_id, "completed", timeout_s=90)
    assert video["attempts"] == 2
    (record,) = [record for record in served.records() if record["clip_id"] == video["clip_id"]]
    assert record["attempts"] == 2


def test_a_killed_rank_costs_no_replica(served: Served) -> None:
    served.await_status(served.submit("a gang is there", seed=7), "completed", timeout_s=90)
    replicas = {process.pid for process in served.processes("ServeReplica:wanfarm:renderer-fake")}
    job_id = served.submit(f"a clip that outlives its rank fake:slow={SLOW_S}", seed=8)
    wait_until(lambda: (served.video(job_id)["step"] or 0) >= 1, timeout_s=30, what="its first step")

    assert served.kill("farm.workers.gang.rank") >= 1

    served.await_status(job_id, "completed", timeout_s=60)
    assert replicas <= {process.pid for process in served.processes("ServeReplica:wanfarm:renderer-fake")}
