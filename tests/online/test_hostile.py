"""What strangers send to do harm: each is refused with a 4xx in the one shape, and leaves nothing under OUT."""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import httpx2
import pytest
from online_farm import OnlineFarm
from web_servers import png, redirects, sends, server, zeros_png

from deployments.api.settings import ApiSettings
from deployments.inputs import addresses
from deployments.inputs.settings import InputSettings

MIB = 1 << 20


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OnlineFarm]:
    """One server for all: whatever is sent, it must go on. Bodies of 1 MiB at most, to be quick."""
    api = ApiSettings(max_body_bytes=MIB)
    inputs = InputSettings(max_bytes=MIB // 2, max_pixels=1_000_000, ports=())
    with OnlineFarm.start(tmp_path_factory.mktemp("hostile") / "out", api=api, inputs=inputs) as farm:
        farm.key()
        yield farm


@pytest.fixture
def client(target: OnlineFarm) -> Iterator[httpx2.Client]:
    """Whose requests must leave nothing, and leave the server well."""
    before = target.files()
    with target.client(target.key()) as opened:
        yield opened
        assert target.files() == before
        assert opened.get("/v1/videos").status_code == 200


def refused(answer: httpx2.Response, status: int | None = None) -> dict[str, Any]:
    assert 400 <= answer.status_code < 500, answer.text
    assert status in (None, answer.status_code), answer.text
    error: dict[str, Any] = answer.json()["error"]
    assert set(error) >= {"code", "message", "type", "field", "param", "advice"}
    assert error["param"] == error["field"]
    assert answer.headers["x-request-id"]
    assert len(answer.text) < 20_000
    return error


@pytest.mark.parametrize(
    "uri",
    [
        "http://127.0.0.1/", "http://localhost/", "http://localhost:6379/", "http://0.0.0.0/", "http://[::1]/",
        "http://[::ffff:127.0.0.1]/", "http://169.254.169.254/latest/meta-data/", "http://10.0.0.1/", "http://0x7f.1/",
        "http://2130706433/", "http://0177.1/", "http://127.1/", "http://metadata.google.internal/", "http://user@127.0.0.1/",
        "http://example.org@127.0.0.1/", "http://127.0.0.1\\@example.org/", "http://127.0.0.1%2f@example.org/",
        "http://[fe80::1%25eth0]/", "http://[64:ff9b::7f00:1]/", "http://[2002:7f00:1::]/", "file:///etc/passwd",
        "/etc/passwd", "../../../etc/passwd", "s3://bucket/key", "ftp://127.0.0.1/", "gopher://127.0.0.1:6379/_FLUSHALL",
        "http://127.0.0.1/\r\nX-Injected: 1", "javascript:alert(1)", "data:text/html,<script>alert(1)</script>",
        "data:image/png;base64,AAAA", "data:image/png;base64,!!!!", "data:image/svg+xml,<svg/>", "jar:http://x/", "/x",
        "http:", "http://", "", " ", "\x00", "http://" + "a" * 9999, "HTTP://LOCALHOST/", "memory://x/y", "local:///etc",
    ],
)  # fmt: skip
@pytest.mark.parametrize("field", ["image", "input_reference"])
def test_addresses_of_others(client: httpx2.Client, uri: str, field: str) -> None:
    error = refused(client.post("/v1/videos", json={"prompt": "a", field: uri}), 422)
    assert error["field"] == field
    assert "passwd:" not in error["message"]


def test_a_redirect_to_this_machine(client: httpx2.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    real = addresses.is_public
    monkeypatch.setattr(addresses, "is_public", lambda text: text == "127.0.0.2" or real(text))
    with server(sends(png())) as inside, server(redirects(f"http://127.0.0.1:{inside}/"), host="127.0.0.2") as port:
        error = refused(client.post("/v1/videos", json={"prompt": "a", "image": f"http://127.0.0.2:{port}/"}), 422)
        assert "public internet" in error["message"]


@pytest.mark.parametrize(
    "data",
    [
        b"", b"not a picture", b"GIF89a" + bytes(100), png(64, 64)[:200], zeros_png(3000, 3000),
        zeros_png(8, 8, claimed=(2**31 - 1, 2**31 - 1)), b"\xff\xd8\xff" + bytes(1000), b"RIFF\xff\xff\xff\xffWEBPVP8X",
        bytes(600 << 10), png(64, 64)[:-20] + bytes(20),
    ],
)  # fmt: skip
def test_files_that_are_no_pictures_or_bombs(client: httpx2.Client, data: bytes) -> None:
    form = {"prompt": (None, "a"), "input_reference": ("a.png", data, "image/png")}
    error = refused(client.post("/v1/videos", files=form), 422)
    assert (error["field"], error["code"]) == ("input_reference", "bad_input")


OWN_NAME = re.compile(
    r"open/video_[0-9a-z]{26}|inputs/[0-9a-f]{64}\.(png|jpg|webp)|refs/[0-9a-f]{64}/default--video_[0-9a-z]{26}"
)


@pytest.mark.parametrize(
    "name", ["../../../etc/passwd", "/etc/cron.d/x", "a\x00.png", "..\\..\\x", "x" * 5000, "‮gnp.exe"]
)
def test_names_of_files_reach_no_path(target: OnlineFarm, name: str) -> None:
    before = target.files()
    form = {"prompt": (None, "a"), "input_reference": (name, png(64, 64), "image/png")}
    with target.client(target.key()) as client:
        answer = client.post("/v1/videos", files=form)
        new = target.files() - before
        if answer.status_code == 200:
            client.delete(f"/v1/videos/{answer.json()['id']}")
            assert [path for path in new if not OWN_NAME.fullmatch(path)] == []
        else:
            refused(answer)
            assert not new


@pytest.mark.parametrize(
    "path",
    [
        "/v1/videos/../keys", "/v1/videos/..%2f..%2fkeys", "/v1/videos/%2e%2e/%2e%2e/etc/passwd", "/v1/videos/%00",
        "/v1/videos/video_" + "x" * 26, "/v1/videos/video_" + "0" * 25 + "/", "/v1/videos/" + "a" * 3000,
        "/v1/videos/open%2fvideo_00000000000000000000000000", "/console/../service.py", "/console/%2e%2e/service.py",
        "/console/..%5cservice.py", "/..%2f..%2fetc/passwd", "/v1/models/..%2fkeys", "/v1/videos/%ff%fe/content",
        "/v1/videos/video_01K%0d%0aX-Injected:%201", "/v1/videos/video_01k/content?variant=..%2f..%2fkeys",
        "/v1/videos/*", "/v1/videos?after=..%2f..%2fkeys", "/v1/videos?limit=1e9", "/v1/videos?limit=-1",
        "/v1/videos?order=;", "/v1/videos?after=video_7" + "z" * 25,
        "/v1/videos?status=%00", "/v1/videos/video_x/link?variant=%2e%2e",
    ],
)  # fmt: skip
def test_paths_that_lead_elsewhere(client: httpx2.Client, path: str) -> None:
    for ask in (client.get, client.delete):
        answer = ask(path)
        assert 400 <= answer.status_code < 500, path
        assert "X-Injected" not in answer.headers
        assert b"root:" not in answer.content


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"", "application/json", 400),
        (b"null", "application/json", 400),
        (b"[]", "application/json", 400),
        (b"{", "application/json", 400),
        (b'{"prompt": "\xff"}', "application/json", 400),
        (b'{"prompt": "a", "seed": NaN}', "application/json", 400),
        (b'{"prompt": "a", "prompt": "b"}', "application/json", 400),
        (b'{"a":' * 100_000, "application/json", 400),
        (b"[" * 500_000, "application/json", 400),
        (b'{"prompt": "a", "seed": ' + b"9" * 10_000 + b"}", "application/json", 400),
        (b'{"prompt": ' + b"[" * 7 + b"]" * 7 + b"}", "application/json", 422),
        (b'{"prompt": "a\\ud800"}', "application/json", 422),
        (b'{"prompt": "a\\u0000"}', "application/json", 422),
        (b'{"prompt": "a", "\\ud800": 1}', "application/json", 422),
        (b'{"prompt": "a", "__proto__": {"x": 1}}', "application/json", 422),
        (b'{"prompt": "a", "seed": 1e400}', "application/json", 422),
        (b'{"prompt": "a", "seed": -1}', "application/json", 422),
        (b'{"prompt": "a", "seed": 1.5}', "application/json", 422),
        (b'{"prompt": {"$ne": null}}', "application/json", 422),
        (b'{"prompt": "a", "width": 1000000, "height": 1000000}', "application/json", 422),
        (b'{"prompt": "a", "num_frames": 1000000001}', "application/json", 422),
        (b'{"prompt": "a", "seconds": "1e308"}', "application/json", 422),
        (b'{"prompt": "a", "fps": 99999999999999999999}', "application/json", 422),
        (b'{"prompt": "a", "tags": {"a": {"b": 1}}}', "application/json", 422),
        (b'{"prompt": "a", "model": "../../etc"}', "application/json", 422),
        (b'{"prompt": "' + b"a" * 10_000 + b'"}', "application/json", 422),
        (b"prompt=a", "application/x-www-form-urlencoded", 415),
        (b"<a/>", "application/xml", 415),
        (b"{}", "text/plain", 415),
        (b"{}", "", 415),
        (b"{}", "application/json-patch+json", 415),
        (b"x", "multipart/form-data", 400),
        (b"x", "multipart/form-data; boundary=", 400),
        (b"x", "multipart/form-data; boundary=" + "b" * 5000, 400),
        (b"--b\r\n" * 10_000, "multipart/form-data; boundary=b", 400),
    ],
)
def test_bodies(client: httpx2.Client, body: bytes, kind: str, status: int) -> None:
    for path in ("/v1/videos", "/v1/videos/video_x/remix", "/v1/videos/extensions"):
        headers = {"Content-Type": kind} if kind else {}
        answer = client.post(path, content=body, headers=headers)
        refused(answer, status if path == "/v1/videos" else None)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400), (b"[]", 400), (b'{"key": "a", "key": "b"}', 400), (b'{"key": 7}', 422),
        (b'{"\\ud800": 1}', 422), (b'{"key": "\\ud800"}', 422), (b'{"key": "' + b"a" * 300 + b'"}', 422),
        (b'{"key": "a", "' + b"x" * 900 + b'": 1}', 422),
    ],
)  # fmt: skip
def test_bodies_of_those_who_sign_in(client: httpx2.Client, body: bytes, status: int) -> None:
    refused(client.post("/v1/session", content=body, headers={"Content-Type": "application/json"}), status)


@pytest.mark.parametrize("path", ["/v1/videos", "/v1/keys", "/v1/session"])
def test_a_body_of_a_gigabyte_that_says_so_is_not_waited_for(target: OnlineFarm, path: str) -> None:
    begun_s = time.monotonic()
    with _connected(target) as raw:
        raw.sendall(_head(target, "Content-Length: 1073741824", path=path))
        answer = raw.recv(65536)
    assert b" 413 " in answer.split(b"\r\n")[0]
    assert b"body_too_large" in answer
    assert time.monotonic() - begun_s < 2.0


@pytest.mark.parametrize("path", ["/v1/videos", "/v1/keys", "/v1/session"])
def test_a_body_of_a_gigabyte_that_hides_it_is_cut_off(target: OnlineFarm, path: str) -> None:
    chunk = b"10000\r\n" + b"a" * 65536 + b"\r\n"
    num_sent = 0
    with _connected(target) as raw:
        raw.sendall(_head(target, "Transfer-Encoding: chunked", path=path))
        try:
            while num_sent < 1 << 30:
                raw.sendall(chunk)
                num_sent += 65536
        except OSError:
            pass
    assert num_sent < 64 * MIB
    with target.client(target.key()) as client:
        big = client.post("/v1/videos", content=b"a" * (MIB + 1), headers={"Content-Type": "application/json"})
        refused(big, 413)


def test_a_body_that_never_ends_holds_nobody_up(client: httpx2.Client, target: OnlineFarm) -> None:
    with _connected(target) as raw:
        raw.sendall(_head(target, "Content-Length: 1000") + b'{"prompt": ')
        assert client.get("/v1/videos").status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Range": "bytes=" + "0-1," * 5000},
        {"Range": "bytes=" + "9" * 5000 + "-"},
        {"If-None-Match": '"' + "x" * 5000},
        {"Cookie": "wanfarm_session=" + "x" * 5000},
        {"Cookie": "; ".join(f"a{number}=b" for number in range(500))},
        {"Authorization": "Bearer \xff\xfe".encode("latin-1")},
        {"Accept-Language": "x" * 5000},
        {"X-Forwarded-For": "127.0.0.1", "X-Forwarded-Host": "evil.example", "Forwarded": "for=127.0.0.1"},
        {"X-HTTP-Method-Override": "DELETE"},
    ],
)
def test_headers(client: httpx2.Client, headers: dict[str, Any]) -> None:
    assert client.get("/v1/videos/video_x/content", headers=headers).status_code in (401, 404, 431)


def test_slow_servers_of_pictures_hold_up_nobody_else(tmp_path: Path) -> None:
    go_on = threading.Event()

    def wait(handler: BaseHTTPRequestHandler) -> None:
        go_on.wait(20.0)
        handler.send_error(404)

    inputs = InputSettings(is_private_allowed=True, ports=())
    with OnlineFarm.start(tmp_path / "out", inputs=inputs) as farm, server(wait) as port:
        ask = {"prompt": "a", "image": f"http://127.0.0.1:{port}/"}

        def send() -> int:
            with farm.client() as client:
                return client.post("/v1/videos", json=ask).status_code

        # More than there are threads for all that blocks.
        with ThreadPoolExecutor(50) as senders:
            answers = [senders.submit(send) for _ in range(50)]
            try:
                with farm.client() as client:
                    for _ in range(10):
                        time.sleep(0.1)
                        client.get("/v1/videos", timeout=5.0).raise_for_status()
            finally:
                go_on.set()
            assert {answer.result() for answer in answers} == {422}


def test_what_a_client_wrote_comes_back_in_no_header(client: httpx2.Client) -> None:
    answer = client.post("/v1/videos", json={"prompt": "a", "x\r\nSet-Cookie: a=b": 1})
    refused(answer, 422)
    assert "set-cookie" not in answer.headers
    for key in ("a\r\nSet-Cookie: a=b", "a" * 300):
        with pytest.raises((httpx2.HTTPError, ValueError, AssertionError)):
            assert client.post("/v1/videos", json={"prompt": "a"}, headers={"Idempotency-Key": key}).status_code < 400


def test_an_error_of_ours_says_nothing_inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with OnlineFarm.start(tmp_path / "out", api=ApiSettings()) as farm, farm.client(farm.key()) as client:

        def broken(*_: object, **__: object) -> None:
            raise RuntimeError("secret /srv/path")

        monkeypatch.setattr(farm.store, "submit", broken)
        answer = client.post("/v1/videos", json={"prompt": "a"})
        assert answer.status_code == 500
        assert answer.json()["error"]["code"] == "internal_error"
        assert "secret" not in answer.text
        assert answer.headers["x-request-id"].startswith("req_")
        monkeypatch.undo()
        assert client.post("/v1/videos", json={"prompt": "a"}).status_code == 200


def _connected(farm: OnlineFarm) -> socket.socket:
    return socket.create_connection(("127.0.0.1", int(farm.base_url.rsplit(":", 1)[1])), timeout=10.0)


def _head(farm: OnlineFarm, length: str, *, path: str = "/v1/videos") -> bytes:
    lines = (
        f"POST {path} HTTP/1.1", "Host: 127.0.0.1", f"Authorization: Bearer {farm.key(scopes=('admin',))}",
        "Content-Type: application/json", length,
    )  # fmt: skip
    return ("\r\n".join(lines) + "\r\n\r\n").encode()
