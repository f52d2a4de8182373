"""Following a video: what it is at once, each change, pictures on the way, an end, and life signs in between."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from online_farm import OnlineFarm, eventually

from deployments.api.settings import ApiSettings, LimitSettings

ASK = {"prompt": "a red ball", "seed": 1}
PREVIEW = b"RIFF----WEBP"


class Follower:
    """Reads a stream of events on a thread."""

    def __init__(self, farm: OnlineFarm, key: str, job_id: str) -> None:
        self.events: list[tuple[str, Any]] = []
        self.num_comments = 0
        self.status = 0
        self._client = farm.client(key)
        self._job_id = job_id
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def _read(self) -> None:
        with self._client.stream("GET", f"/v1/videos/{self._job_id}/events") as stream:
            self.status = stream.status_code
            assert stream.headers["content-type"].startswith("text/event-stream")
            kind = ""
            for line in stream.iter_lines():
                if line.startswith("event: "):
                    kind = line[7:]
                elif line.startswith("data: "):
                    self.events.append((kind, json.loads(line[6:])))
                elif line.startswith(":"):
                    self.num_comments += 1

    def videos(self) -> list[dict[str, Any]]:
        return [data for kind, data in self.events if kind == "video"]

    def wait(self, *, timeout_s: float = 10.0) -> None:
        """Until the server closes the stream."""
        self.thread.join(timeout_s)
        assert not self.thread.is_alive()


@pytest.fixture
def job_id(client: httpx2.Client) -> str:
    submitted: str = client.post("/v1/videos", json=ASK).json()["id"]
    return submitted


def begin(farm: OnlineFarm, job_id: str) -> None:
    """A renderer takes the job."""
    job = farm.dispatcher.take("renderer 1", "nano")
    assert job is not None
    assert job.id == job_id


def test_from_queued_to_completed(farm: OnlineFarm, client: httpx2.Client, job_id: str) -> None:
    follower = Follower(farm, farm.key(), job_id)
    eventually(lambda: len(follower.videos()) > 0, timeout_s=5.0)
    begin(farm, job_id)
    for step in range(1, 4):
        preview = PREVIEW if step == 2 else None
        farm.dispatcher.stepped("renderer 1", job_id, done=step, total=4, preview=preview)
        eventually(lambda step=step: any(video["step"] == step for video in follower.videos()), timeout_s=5.0)  # type: ignore[misc]
        if step == 2:
            shown = client.get(f"/v1/videos/{job_id}").json()
            assert (shown["status"], shown["progress"], shown["preview_step"]) == ("in_progress", 50, 2)
            assert shown["renderer"] == "renderer 1"
            picture = client.get(f"/v1/videos/{job_id}/preview", params={"step": 2})
            assert (picture.content, picture.headers["content-type"]) == (PREVIEW, "image/webp")
    farm.finish(job_id)
    farm.dispatcher.ended("renderer 1", job_id, "completed")
    follower.wait()
    videos = follower.videos()
    assert videos[0]["status"] == "queued"
    assert [video["status"] for video in videos][-1] == "completed"
    assert videos[-1]["video"] is not None
    steps = [video["step"] for video in videos if video["step"] is not None]
    assert steps == sorted(steps)
    assert ("preview", {"step": 2}) in follower.events
    assert [kind for kind, _ in follower.events].count("preview") == 1
    assert client.get(f"/v1/videos/{job_id}/preview").status_code == 404


def test_without_a_dispatcher_the_end_is_heard_of(farm: OnlineFarm, job_id: str) -> None:
    farm.dispatch.is_away = True
    follower = Follower(farm, farm.key(), job_id)
    eventually(lambda: len(follower.videos()) == 1, timeout_s=5.0)
    farm.finish(job_id)
    follower.wait()
    assert follower.videos()[-1]["status"] == "completed"


def test_cancelling_and_deleting_end_a_stream(farm: OnlineFarm, client: httpx2.Client, job_id: str) -> None:
    follower = Follower(farm, farm.key(), job_id)
    eventually(lambda: len(follower.videos()) > 0, timeout_s=5.0)
    client.post(f"/v1/videos/{job_id}/cancel")
    follower.wait(timeout_s=15.0)
    assert follower.videos()[-1]["status"] == "cancelled"
    other = client.post("/v1/videos", json={**ASK, "seed": 2}).json()["id"]
    follower = Follower(farm, farm.key(), other)
    eventually(lambda: len(follower.videos()) > 0, timeout_s=5.0)
    client.delete(f"/v1/videos/{other}")
    follower.wait(timeout_s=15.0)


def test_what_has_ended_is_told_once(farm: OnlineFarm, job_id: str) -> None:
    farm.finish(job_id)
    follower = Follower(farm, farm.key(), job_id)
    follower.wait()
    assert [(kind, data["status"]) for kind, data in follower.events] == [("video", "completed")]


@pytest.fixture
def impatient(tmp_path: Path) -> Iterator[OnlineFarm]:
    """Gives signs of life often, and lets a key follow two videos."""
    api = ApiSettings(keep_alive_s=0.1, limits=LimitSettings(max_event_streams=2))
    with OnlineFarm.start(tmp_path / "impatient", api=api) as farm:
        yield farm


def test_silence_is_broken_by_comments_and_streams_are_counted(impatient: OnlineFarm) -> None:
    with impatient.client(impatient.key()) as client:
        job_id = client.post("/v1/videos", json=ASK).json()["id"]
        followers = [Follower(impatient, impatient.key(), job_id) for _ in range(2)]
        eventually(lambda: all(follower.num_comments > 2 for follower in followers), timeout_s=5.0)
        refused = client.get(f"/v1/videos/{job_id}/events")
        assert (refused.status_code, refused.json()["error"]["code"]) == (429, "too_many_streams")
        client.post(f"/v1/videos/{job_id}/cancel")
        for follower in followers:
            follower.wait(timeout_s=15.0)
        third = client.get(f"/v1/videos/{job_id}/events")
        assert third.status_code == 200


def test_a_client_that_hangs_up_is_not_counted_any_more(impatient: OnlineFarm) -> None:
    with impatient.client(impatient.key()) as client:
        job_id = client.post("/v1/videos", json=ASK).json()["id"]
        for _ in range(3):
            with (
                impatient.client(impatient.key()) as other,
                other.stream("GET", f"/v1/videos/{job_id}/events") as stream,
            ):
                assert stream.status_code in (200, 429)
                next(stream.iter_lines())

        def is_free() -> bool:
            with client.stream("GET", f"/v1/videos/{job_id}/events") as stream:
                return stream.status_code == 200

        eventually(is_free, timeout_s=5.0)
