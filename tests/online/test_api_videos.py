"""What can be done with videos: ask, list, cancel, delete, make others of them. Clips are made by hand here."""

from __future__ import annotations

from pathlib import Path

import httpx2
import numpy as np
import pytest
from online_farm import OnlineFarm, eventually
from web_servers import png

from deployments.config import ModelConfig
from farm.ledger import committed_ids
from farm.media import read_image
from farm.queue.job import JobFault

ASK = {"prompt": "a red ball", "seed": 1}


def submit(client: httpx2.Client, **changes: object) -> str:
    answer = client.post("/v1/videos", json={**ASK, **changes})
    assert answer.status_code == 200, answer.text
    job_id: str = answer.json()["id"]
    return job_id


def test_what_is_answered_is_what_will_be_made(client: httpx2.Client) -> None:
    asked = {
        "prompt": "a red ball", "size": "64x48", "seconds": "1", "guidance_scale": 1.2, "num_inference_steps": 6,
        "solver": "euler", "shift": 2, "negative_prompt": "blue", "priority": 5, "tags": {"a": "b"}, "ttl": 3600,
        "is_pinned": True, "model": "nano",
    }  # fmt: skip
    video = client.post("/v1/videos", json=asked).json()
    assert (video["status"], video["progress"], video["object"], video["mode"]) == ("queued", 0, "video", "text")
    assert (video["size"], video["num_frames"], video["seconds"]) == ("64x48", 9, "1.125")
    assert video["asked"] == {"size": "64x48", "seconds": 1.0}
    same = {"prompt", "guidance_scale", "num_inference_steps", "solver", "shift", "negative_prompt", "priority", "tags"}
    assert {name: video[name] for name in same} == {name: asked[name] for name in same}
    assert 0 <= video["seed"] < 2**31
    assert len(video["warnings"]) == 2
    assert client.get(f"/v1/videos/{video['id']}").json()["seed"] == video["seed"]
    assert client.post("/v1/videos", json={"prompt": "a red ball"}).json()["seed"] != video["seed"]


def test_pages_of_a_list(farm: OnlineFarm, client: httpx2.Client) -> None:
    job_ids = [submit(client, seed=number) for number in range(7)]
    farm.finish(job_ids[2])
    client.post(f"/v1/videos/{job_ids[4]}/cancel")
    newest_first = job_ids[::-1]
    page = client.get("/v1/videos", params={"limit": 3}).json()
    assert [video["id"] for video in page["data"]] == newest_first[:3]
    assert (page["has_more"], page["first_id"], page["last_id"]) == (True, newest_first[0], newest_first[2])
    rest = client.get("/v1/videos", params={"limit": 5, "after": page["last_id"]}).json()
    assert [video["id"] for video in rest["data"]] == newest_first[3:]
    assert rest["has_more"] is False
    oldest_first = client.get("/v1/videos", params={"order": "asc", "limit": 2}).json()
    assert [video["id"] for video in oldest_first["data"]] == job_ids[:2]
    ended = client.get("/v1/videos", params={"status": "completed,cancelled"}).json()["data"]
    assert [(video["id"], video["status"]) for video in ended] == [(job_ids[4], "cancelled"), (job_ids[2], "completed")]
    for wrong in ({"limit": 0}, {"limit": 101}, {"order": "up"}, {"status": "done"}, {"after": "x" * 200}):
        assert client.get("/v1/videos", params=wrong).status_code == 422, wrong
    assert client.get("/v1/videos", params={"after": "../../x"}).status_code == 404


def test_cancelled_is_still_there_and_deleted_is_not(farm: OnlineFarm, client: httpx2.Client) -> None:
    job_id = submit(client)
    assert client.post(f"/v1/videos/{job_id}/cancel").json()["status"] == "cancelled"
    assert client.post(f"/v1/videos/{job_id}/cancel").json()["status"] == "cancelled"
    assert client.get(f"/v1/videos/{job_id}").json()["status"] == "cancelled"
    assert client.delete(f"/v1/videos/{job_id}").json() == {"id": job_id, "object": "video.deleted", "deleted": True}
    for answer in (client.get(f"/v1/videos/{job_id}"), client.delete(f"/v1/videos/{job_id}")):
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "video_not_found")


def test_deleting_the_last_that_has_a_clip_deletes_the_clip(farm: OnlineFarm, client: httpx2.Client) -> None:
    first, second = submit(client), submit(client)
    farm.finish(first)
    farm.finish(second)
    client.delete(f"/v1/videos/{first}")
    assert client.get(f"/v1/videos/{second}/content").status_code == 200
    client.delete(f"/v1/videos/{second}")
    assert committed_ids(farm.out) == set()
    assert not [path for path in farm.files() if first in path or second in path or path.endswith((".mp4", ".webp"))]


def test_the_same_request_with_its_seed_is_answered_from_the_ledger(farm: OnlineFarm, client: httpx2.Client) -> None:
    first = submit(client)
    assert client.post("/v1/videos", json=ASK).json()["from_ledger"] is False
    farm.finish(first)
    again = client.post("/v1/videos", json=ASK).json()
    assert (again["status"], again["from_ledger"], again["progress"]) == ("completed", True, 100)
    assert again["id"] != first
    assert client.get(f"/v1/videos/{again['id']}/content").status_code == 200
    assert client.post("/v1/videos", json={"prompt": "a red ball"}).json()["status"] == "queued"


def test_a_clip_of_a_project_with_a_like_name_answers_nobody_else(farm: OnlineFarm) -> None:
    with farm.client(farm.key("studio--a")) as other, farm.client(farm.key("studio")) as client:
        farm.finish(submit(other))
        assert client.post("/v1/videos", json=ASK).json()["status"] == "queued"
        assert other.post("/v1/videos", json=ASK).json()["from_ledger"] is True


def test_an_idempotency_key_makes_one_video(client: httpx2.Client) -> None:
    headers = {"Idempotency-Key": "order 7"}
    body = {"prompt": "a red ball"}
    first = client.post("/v1/videos", json=body, headers=headers).json()
    assert client.post("/v1/videos", json=body, headers=headers).json()["id"] == first["id"]
    other = client.post("/v1/videos", json={"prompt": "a blue ball"}, headers=headers)
    assert (other.status_code, other.json()["error"]["code"]) == (409, "idempotency_key_reused")
    assert client.post("/v1/videos", json=body, headers={"Idempotency-Key": "order 8"}).json()["id"] != first["id"]
    assert len(client.get("/v1/videos").json()["data"]) == 2
    assert client.post("/v1/videos", json=body, headers={"Idempotency-Key": "k" * 300}).status_code == 422
    client.delete(f"/v1/videos/{first['id']}")
    assert client.post("/v1/videos", json=body, headers=headers).json()["id"] != first["id"]


def test_an_idempotency_key_is_its_projects_own(farm: OnlineFarm, client: httpx2.Client) -> None:
    headers = {"Idempotency-Key": "order 7"}
    first = client.post("/v1/videos", json=ASK, headers=headers).json()
    with farm.client(farm.key("rival")) as rival:
        assert rival.post("/v1/videos", json={"prompt": "theirs"}, headers=headers).json()["id"] != first["id"]


def test_a_remix_has_all_but_the_words(farm: OnlineFarm, client: httpx2.Client) -> None:
    job_id = submit(client, num_frames=9, guidance_scale=2.5, tags={"a": "b"})
    source = client.get(f"/v1/videos/{job_id}").json()
    remix = client.post(f"/v1/videos/{job_id}/remix", json={"prompt": "a blue ball"}).json()
    assert (remix["prompt"], remix["remixed_from_video_id"]) == ("a blue ball", job_id)
    same = {"seed", "size", "num_frames", "fps", "guidance_scale", "num_inference_steps", "shift", "solver", "tags"}
    assert {name: remix[name] for name in same} == {name: source[name] for name in same}
    wrong = client.post(f"/v1/videos/{job_id}/remix", json={"prompt": "", "seed": 3})
    assert wrong.status_code == 422
    assert {fault["field"] for fault in wrong.json()["error"]["errors"]} == {"seed"}
    assert client.post(f"/v1/videos/{job_id}/remix", json={"prompt": " "}).status_code == 422
    assert client.post(f"/v1/videos/{job_id}/remix", json={"prompt": "x" * 9000}).status_code == 422


def test_an_extension_begins_with_the_last_frame(farm: OnlineFarm, client: httpx2.Client) -> None:
    job_id = submit(client, num_frames=9)
    extend = {"prompt": "it goes on", "seconds": "2"}
    assert client.post(f"/v1/videos/{job_id}/extend", json=extend).json()["error"]["code"] == "not_completed"
    frames = np.zeros((9, 64, 64, 3), np.uint8)
    frames[-1, :, :, 2] = 255
    farm.finish(job_id, frames=frames)
    answer = client.post(f"/v1/videos/{job_id}/extend", json=extend)
    video = answer.json()
    assert answer.status_code == 200, answer.text
    assert (video["extends"], video["mode"], video["num_frames"], video["prompt"]) == (
        job_id,
        "image",
        17,
        "it goes on",
    )
    image = farm.store.get(video["id"]).spec.image
    assert image is not None
    picture = read_image(farm.out.read(image.uri.removeprefix(farm.out.uri + "/")))
    assert picture[..., 2].mean() > 200
    assert picture[..., 0].mean() < 40
    openais = {"prompt": "it goes on", "video": {"id": job_id}, "seconds": "2", "seed": 4}
    assert client.post("/v1/videos/extensions", json=openais).json()["extends"] == job_id
    too_long = client.post(f"/v1/videos/{job_id}/extend", json={"prompt": "", "seconds": "60"})
    assert {fault["field"] for fault in too_long.json()["error"]["errors"]} == {"prompt", "seconds"}
    assert client.post("/v1/videos/extensions", json={"prompt": "a"}).json()["error"]["field"] == "video"


def test_a_failed_video_says_why_and_is_tried_again(farm: OnlineFarm, client: httpx2.Client) -> None:
    job_id = submit(client, ttl=3600, is_pinned=True)
    assert client.post(f"/v1/videos/{job_id}/retry").json()["error"]["code"] == "not_failed"
    farm.fail(job_id, JobFault(code="not_finite", message="the render gave NaN", advice="try another seed"))
    failed = client.get(f"/v1/videos/{job_id}").json()
    assert failed["status"] == "failed"
    assert failed["error"] == {
        "code": "not_finite", "message": "the render gave NaN", "field": None, "advice": "try another seed",
    }  # fmt: skip
    again = client.post(f"/v1/videos/{job_id}/retry").json()
    assert (again["status"], again["seed"], again["prompt"]) == ("queued", 1, "a red ball")
    assert (again["ttl"], again["is_pinned"]) == (3600, True)
    assert again["id"] != job_id


def test_tried_again_it_is_what_the_model_is_now(tmp_path: Path) -> None:
    with OnlineFarm.start(tmp_path / "out") as farm, farm.client() as client:
        job_id = submit(client)
        farm.fail(job_id, JobFault(code="model_changed", message="other weights"))
    models = (ModelConfig(model="nano", dtype="bfloat16"),)
    with OnlineFarm.start(tmp_path / "out", models=models) as farm, farm.client() as client:
        again = client.post(f"/v1/videos/{job_id}/retry").json()["id"]
        assert (farm.store.get(job_id).spec.dtype, farm.store.get(again).spec.dtype) == ("float32", "bfloat16")


def test_a_picture_that_goes_while_it_is_asked_for_is_asked_for_again(
    farm: OnlineFarm, client: httpx2.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(farm.out), "exists", lambda *_: False)
    answer = client.post("/v1/videos", files={"prompt": (None, "a"), "input_reference": ("a.png", png(64, 64))})
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "try_again")
    assert answer.headers["retry-after"] == "1"
    monkeypatch.undo()
    assert client.get("/v1/videos").json()["data"] == []


def test_the_dispatcher_need_not_be_there(farm: OnlineFarm, client: httpx2.Client) -> None:
    farm.dispatch.is_away = True
    job_id = submit(client)
    assert client.get(f"/v1/videos/{job_id}").json()["status"] == "queued"
    assert client.get("/v1/queue").json()["dispatcher"] == "away"
    farm.finish(job_id)
    assert client.get(f"/v1/videos/{job_id}/content").status_code == 200
    assert client.get("/v1/videos").json()["data"][0]["status"] == "completed"
    assert client.post(f"/v1/videos/{submit(client, seed=2)}/cancel").json()["status"] == "cancelled"
    assert client.delete(f"/v1/videos/{job_id}").status_code == 200
    late = submit(client, seed=3)
    farm.dispatch.is_away = False
    # It is found by a look at the storage.
    eventually(lambda: farm.dispatcher.progress(late) is not None, timeout_s=10.0)


def test_where_a_video_stands_in_the_queue(client: httpx2.Client) -> None:
    submit(client)
    job_id = submit(client, seed=2)
    answer = client.get(f"/v1/videos/{job_id}")
    video = answer.json()
    assert video["position"] == 1
    assert video["eta_s"] > video["wait_s"] > 0
    assert 250 <= int(answer.headers["openai-poll-after-ms"]) <= 10_000
    queue = client.get("/v1/queue").json()
    assert (queue["dispatcher"], queue["models"][0]["num_queued"]) == ("up", 2)


def test_pausing_is_said_in_the_storage(farm: OnlineFarm, admin: httpx2.Client) -> None:
    paused = admin.post("/v1/queue/pause").json()["paused"]
    assert paused["by"] == "office"
    assert list(farm.out.names("control/online"))
    assert admin.post("/v1/queue/resume").json()["paused"] is None


@pytest.mark.parametrize("priority", [-100, 100])
def test_priorities(client: httpx2.Client, priority: int) -> None:
    assert client.get(f"/v1/videos/{submit(client, priority=priority)}").json()["priority"] == priority


def test_models(client: httpx2.Client) -> None:
    models = client.get("/v1/models").json()["data"]
    assert [model["id"] for model in models] == ["nano"]
    assert client.get("/v1/models/nano").json() == models[0]
    assert models[0]["is_default"] is True
    assert models[0]["sizes"][0] == models[0]["defaults"]["size"] == "64x64"
    assert client.get("/v1/models/sora-2").status_code == 404
    answer = client.post("/v1/videos", json={"prompt": "a", "model": "sora-2"})
    assert answer.json()["error"]["code"] == "model_not_found"
