"""The official OpenAI client against the API, as its users write it. Renderers are played by hand here."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from online_farm import OnlineFarm
from openai import OpenAI
from web_servers import png

from farm.media import probe_video
from farm.queue.job import JobFault

pytestmark = pytest.mark.filterwarnings("ignore:The Sora API:DeprecationWarning")


@pytest.fixture
def ai(farm: OnlineFarm) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{farm.base_url}/v1", api_key=farm.key(), max_retries=0) as client:
        yield client


def test_create_and_poll_then_download(farm: OnlineFarm, ai: OpenAI, tmp_path: Path) -> None:
    with farm.finishing():
        video = ai.videos.create_and_poll(
            model="nano", prompt="a red circle", seconds="2", size="64x64",
            extra_body={
                "num_inference_steps": 6, "guidance_scale": 2.5, "seed": 7, "tags": {"scene": "7", "take": "2"},
                "negative_prompt": "", "is_pinned": True, "priority": -3,
            },
        )  # fmt: skip
    assert (video.status, video.progress, video.seconds, video.size) == ("completed", 100, "2.125", "64x64")
    assert video.completed_at is not None
    ours: Any = video
    assert (ours.seed, ours.num_inference_steps, ours.guidance_scale, ours.tags, ours.is_pinned, ours.priority) == (
        7, 6, 2.5, {"scene": "7", "take": "2"}, True, -3,
    )  # fmt: skip
    file = tmp_path / "clip.mp4"
    ai.videos.download_content(video.id).write_to_file(file)
    assert probe_video(file).num_frames == 17
    for variant in ("thumbnail", "spritesheet"):
        assert ai.videos.download_content(video.id, variant=variant).read()[:4] == b"RIFF"


def test_a_picture_as_a_file_and_by_address(farm: OnlineFarm, ai: OpenAI, tmp_path: Path) -> None:
    file = tmp_path / "first.png"
    file.write_bytes(png(64, 64))
    by_file = ai.videos.create(prompt="it moves", input_reference=file)
    by_bytes = ai.videos.create(prompt="it moves", input_reference=("../x.png", file.read_bytes(), "image/png"))
    assert farm.store.get(by_file.id).spec.image == farm.store.get(by_bytes.id).spec.image
    with pytest.raises(openai.UnprocessableEntityError) as caught:
        # This version of the client takes an object for a file here, and fails by itself; so it goes beside.
        ai.videos.create(prompt="it moves", extra_body={"input_reference": {"image_url": "http://127.0.0.1/x.png"}})
    assert (caught.value.param, caught.value.code) == ("input_reference", "bad_input")
    with pytest.raises(openai.UnprocessableEntityError, match="file_id"):
        ai.videos.create(prompt="it moves", extra_body={"input_reference": {"file_id": "file-1"}})


def test_adapters_are_refused_by_name_where_there_are_none(ai: OpenAI) -> None:
    extra = {"adapters": [{"name": "ink", "scale": 0.5}, {"name": "oil"}], "control": "https://x.example/depth.mp4"}
    with pytest.raises(openai.UnprocessableEntityError) as caught:
        ai.videos.create(prompt="a circle", extra_body=extra)
    body: Any = caught.value.body
    assert {fault["field"]: fault["code"] for fault in body["errors"]} == {
        "adapters": "unsupported_by_model", "control": "unsupported_by_model",
    }  # fmt: skip


def test_lists_page_by_themselves(ai: OpenAI) -> None:
    made = [ai.videos.create(prompt=f"circle {number}").id for number in range(5)]
    assert [video.id for video in ai.videos.list(limit=2)] == made[::-1]
    assert [video.id for video in ai.videos.list(limit=2, order="asc")] == made
    assert [video.id for video in ai.videos.list(after=made[2])] == [made[1], made[0]]


def test_retrieve_remix_extend_delete(farm: OnlineFarm, ai: OpenAI) -> None:
    source = ai.videos.create(prompt="a red circle", seconds="1")
    assert ai.videos.retrieve(source.id).status == "queued"
    farm.finish(source.id)
    remix = ai.videos.remix(source.id, prompt="a blue circle")
    assert (remix.remixed_from_video_id, remix.prompt) == (source.id, "a blue circle")
    # ... and likewise here.
    beside = {"video": {"id": source.id}}
    longer: Any = ai.videos.extend(video=openai.omit, prompt="it goes on", seconds="2", extra_body=beside)  # type: ignore[arg-type]
    assert (longer.extends, longer.seconds) == (source.id, "2.125")
    gone = ai.videos.delete(source.id)
    assert (gone.id, gone.deleted, gone.object) == (source.id, True, "video.deleted")
    with pytest.raises(openai.NotFoundError) as caught:
        ai.videos.retrieve(source.id)
    assert caught.value.code == "video_not_found"


def test_a_failed_video_ends_polling_and_says_why(farm: OnlineFarm, ai: OpenAI) -> None:
    video = ai.videos.create(prompt="a red circle")
    farm.fail(video.id, JobFault(code="not_finite", message="the render gave NaN"))
    ended = ai.videos.poll(video.id)
    assert ended.status == "failed"
    assert ended.error is not None
    assert (ended.error.code, ended.error.message) == ("not_finite", "the render gave NaN")


def test_a_cancelled_video_ends_polling(farm: OnlineFarm, ai: OpenAI) -> None:
    video = ai.videos.create(prompt="a red circle")
    farm.client(farm.key()).post(f"/v1/videos/{video.id}/cancel")
    begun_s = time.monotonic()
    assert ai.videos.poll(video.id).status == "cancelled"
    assert time.monotonic() - begun_s < 1.0


def test_errors_are_the_clients_own(farm: OnlineFarm, ai: OpenAI) -> None:
    video = ai.videos.create(prompt="a red circle")
    with pytest.raises(openai.ConflictError) as not_ready:
        ai.videos.download_content(video.id)
    assert not_ready.value.code == "not_completed"
    assert not_ready.value.request_id is not None
    with pytest.raises(openai.UnprocessableEntityError) as wrong:
        ai.videos.create(prompt="", size="65x64", extra_body={"steps": 3})
    body: Any = wrong.value.body
    assert {fault["field"] for fault in body["errors"]} == {"prompt", "size", "steps"}
    with OpenAI(base_url=f"{farm.base_url}/v1", api_key="wf_wrong") as stranger:
        with pytest.raises(openai.AuthenticationError):
            stranger.videos.list()
    reader = farm.key("reader", scopes=("read",))
    with OpenAI(base_url=f"{farm.base_url}/v1", api_key=reader) as no_writer:
        with pytest.raises(openai.PermissionDeniedError):
            no_writer.videos.create(prompt="a")


def test_the_client_retries_without_doubling(farm: OnlineFarm, ai: OpenAI) -> None:
    headers = {"Idempotency-Key": "order 7"}
    first = ai.videos.create(prompt="a red circle", extra_headers=headers)
    assert ai.videos.create(prompt="a red circle", extra_headers=headers).id == first.id
    with pytest.raises(openai.ConflictError) as other:
        ai.videos.create(prompt="a blue circle", extra_headers=headers)
    assert other.value.code == "idempotency_key_reused"
