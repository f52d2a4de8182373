"""Files of finished videos: whole, in ranges, unchanged, by signed address, as three variants."""

from __future__ import annotations

import base64
from pathlib import Path

import httpx2
import pytest
from online_farm import OnlineFarm
from services.endpoint import S3Endpoint
from web_servers import png

from deployments.api.ranges import Span, is_unchanged, span_of
from deployments.api.settings import ApiSettings
from deployments.errors import RangeError
from deployments.media import CHUNK_BYTES, read_chunks
from farm.media import probe_video
from farm.settings import Settings
from farm.storage import MemoryStorage

PICTURE = base64.b64encode(png(64, 64)).decode()
ETAG = '"abc"'


@pytest.mark.parametrize(
    ("header", "span"),
    [
        (None, None),
        ("bytes=0-3", Span(start=0, size=4)),
        ("bytes=6-", Span(start=6, size=4)),
        ("bytes=-3", Span(start=7, size=3)),
        ("bytes=-300", Span(start=0, size=10)),
        ("bytes=8-300", Span(start=8, size=2)),
        ("bytes=0-0", Span(start=0, size=1)),
        ("bytes=5-2", None),
        ("bytes=-", None),
        ("bytes=0-1,4-5", None),
        ("lines=0-3", None),
        ("bytes=a-b", None),
        ("bytes=" + "9" * 40 + "-", None),
    ],
)
def test_which_bytes_a_range_means(header: str | None, span: Span | None) -> None:
    assert span_of(header, size_bytes=10, etag=ETAG) == span


@pytest.mark.parametrize("header", ["bytes=10-", "bytes=99-100", "bytes=-0"])
def test_a_range_beyond_the_end_is_refused(header: str) -> None:
    with pytest.raises(RangeError):
        span_of(header, size_bytes=10, etag=ETAG)


def test_a_range_of_another_version_is_the_whole() -> None:
    assert span_of("bytes=0-3", size_bytes=10, etag=ETAG, if_range='"old"') is None
    assert span_of("bytes=0-3", size_bytes=10, etag=ETAG, if_range=ETAG) == Span(start=0, size=4)


@pytest.mark.parametrize(
    ("header", "same"), [(None, False), (ETAG, True), ("*", True), ('"x", W/"abc"', True), ('"x"', False)]
)
def test_what_the_client_has_already(header: str | None, same: bool) -> None:
    assert is_unchanged(header, ETAG) is same


def test_a_long_file_is_read_a_chunk_at_a_time() -> None:
    out = MemoryStorage("chunks")
    data = bytes(range(256)) * (CHUNK_BYTES // 100)
    out.replace("clips/ab/long.mp4", data)
    chunks = list(read_chunks(out, "clips/ab/long.mp4", start=5, size=len(data) - 9))
    assert b"".join(chunks) == data[5:-4]
    assert max(map(len, chunks)) == CHUNK_BYTES


@pytest.fixture
def video_id(farm: OnlineFarm, client: httpx2.Client) -> str:
    """A finished video."""
    job_id: str = client.post("/v1/videos", json={"prompt": "a red ball", "seed": 1}).json()["id"]
    farm.finish(job_id)
    return job_id


def test_the_video_as_a_file(client: httpx2.Client, video_id: str) -> None:
    answer = client.get(f"/v1/videos/{video_id}/content")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "video/mp4"
    assert answer.headers["content-disposition"] == f'inline; filename="{video_id}.mp4"'
    assert answer.headers["accept-ranges"] == "bytes"
    assert probe_video(answer.content).num_frames == 17
    shown = client.get(f"/v1/videos/{video_id}").json()
    assert shown["video"] == {"size_bytes": len(answer.content), "sha256": answer.headers["etag"].strip('"')}
    assert (shown["status"], shown["progress"], shown["seconds"]) == ("completed", 100, "2.125")
    saved = client.get(f"/v1/videos/{video_id}/content?download=true")
    assert saved.headers["content-disposition"].startswith("attachment")


def test_parts_of_it(client: httpx2.Client, video_id: str) -> None:
    url = f"/v1/videos/{video_id}/content"
    whole = client.get(url)
    part = client.get(url, headers={"Range": "bytes=10-19"})
    assert (part.status_code, part.content) == (206, whole.content[10:20])
    assert part.headers["content-range"] == f"bytes 10-19/{len(whole.content)}"
    last = client.get(url, headers={"Range": "bytes=-5"})
    assert last.content == whole.content[-5:]
    beyond = client.get(url, headers={"Range": f"bytes={len(whole.content)}-"})
    assert beyond.status_code == 416
    assert beyond.headers["content-range"] == f"bytes */{len(whole.content)}"
    assert beyond.json()["error"]["code"] == "range_not_satisfiable"
    same = client.get(url, headers={"If-None-Match": whole.headers["etag"]})
    assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", whole.headers["etag"])
    head = client.head(url)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == str(len(whole.content))


@pytest.mark.parametrize("variant", ["thumbnail", "spritesheet"])
def test_its_pictures(client: httpx2.Client, video_id: str, variant: str) -> None:
    answer = client.get(f"/v1/videos/{video_id}/content", params={"variant": variant})
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/webp")
    assert answer.content[:4] == b"RIFF"
    assert client.get(
        f"/v1/videos/{video_id}/content",
        params={"variant": variant},
        headers={"If-None-Match": answer.headers["etag"]},
    ).status_code == 304  # fmt: skip


def test_no_other_variants(client: httpx2.Client, video_id: str) -> None:
    answer = client.get(f"/v1/videos/{video_id}/content", params={"variant": "../../keys"})
    assert answer.status_code == 422
    assert answer.json()["error"]["field"] == "variant"


def test_what_is_not_finished_has_no_content(client: httpx2.Client) -> None:
    job_id = client.post("/v1/videos", json={"prompt": "a red ball"}).json()["id"]
    answer = client.get(f"/v1/videos/{job_id}/content")
    assert answer.status_code == 409
    assert answer.json()["error"]["code"] == "not_completed"
    assert answer.headers["x-should-retry"] == "false"


def test_a_file_that_is_gone_is_not_found(farm: OnlineFarm, client: httpx2.Client, video_id: str) -> None:
    for path in [path for path in farm.files() if path.endswith((".mp4", ".webp"))]:
        farm.out.delete(path)
    for variant in ("video", "thumbnail"):
        answer = client.get(f"/v1/videos/{video_id}/content", params={"variant": variant})
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "content_gone")


def test_a_signed_address_needs_no_key(farm: OnlineFarm, client: httpx2.Client, video_id: str) -> None:
    link = client.get(f"/v1/videos/{video_id}/link").json()
    with farm.client() as anybody:
        assert anybody.get(link["url"]).status_code == 200
        assert anybody.get(f"/v1/videos/{video_id}/content").status_code == 401
        for spoilt in (
            link["url"].replace("variant=video", "variant=thumbnail"),
            link["url"].replace("expires=", "expires=9"),
            link["url"][:-1] + ("0" if link["url"][-1] != "0" else "1"),
            link["url"].partition("&signature")[0] + "&signature=",
            link["url"].partition("&signature")[0] + "&signature=%ff%00",
        ):
            assert anybody.get(spoilt).status_code in (401, 403, 422), spoilt


def test_a_signed_address_ends(tmp_path: Path) -> None:
    with OnlineFarm.start(tmp_path / "out", api=ApiSettings(link_s=0.001)) as farm, farm.client(farm.key()) as client:
        job_id = client.post("/v1/videos", json={"prompt": "a red ball"}).json()["id"]
        farm.finish(job_id)
        link = client.get(f"/v1/videos/{job_id}/link").json()
        assert farm.client().get(link["url"]).json()["error"]["code"] == "bad_signature"


def test_the_same_on_s3(moto_s3: S3Endpoint) -> None:
    settings = Settings(storage_options={"s3": moto_s3.options})
    with OnlineFarm.start(f"s3://{moto_s3.new_bucket()}/out", settings=settings, api=ApiSettings()) as farm:
        with farm.client(farm.key()) as client:
            asked = {"prompt": "a red ball", "seed": 1, "image": f"data:image/png;base64,{PICTURE}"}
            job_id = client.post("/v1/videos", json=asked).json()["id"]
            farm.finish(job_id)
            url = f"/v1/videos/{job_id}/content"
            whole = client.get(url)
            assert probe_video(whole.content).num_frames == 17
            part = client.get(url, headers={"Range": "bytes=100-"})
            assert (part.status_code, part.content) == (206, whole.content[100:])
            assert client.get(url, params={"variant": "thumbnail"}).content[:4] == b"RIFF"
            assert client.post("/v1/videos", json=asked).json()["from_ledger"] is True
            longer = client.post(f"/v1/videos/{job_id}/extend", json={"prompt": "on"})
            assert longer.json()["extends"] == job_id
            for video in client.get("/v1/videos").json()["data"]:
                assert client.delete(f"/v1/videos/{video['id']}").status_code == 200
            assert client.get(url).status_code == 404
            assert not [path for path in farm.files() if path.endswith((".mp4", ".webp"))]
