"""Inputs of strangers: which addresses are asked, what is taken, and that decoding them is bounded."""

from __future__ import annotations

import base64
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from web_servers import png, redirects, sends, server, tls_listener, zeros_png

from deployments.inputs import addresses
from deployments.inputs.addresses import is_public, target_of
from deployments.inputs.fetch import Fetcher
from deployments.inputs.settings import InputSettings
from farm.errors import InputError
from farm.files import Files
from farm.media.bounded import BoundedDecoder, Bounds
from farm.settings import Settings

PUBLIC = "93.184.216.34"


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.8.9.10", "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1",
        "192.0.0.1", "192.0.2.1", "198.18.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255", "::", "::1", "fe80::1",
        "fe80::1%eth0", "fc00::1", "ff02::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:7f00:1", "2002:7f00:1::",
        "2002:a9fe:a9fe::1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1", "2001:db8::1", "::127.0.0.1",
        "2001:0:7f00:1::", "not an address", "",
    ],
)  # fmt: skip
def test_addresses_that_are_not_the_internets(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", [PUBLIC, "8.8.8.8", "2606:2800:220:1:248:1893:25c8:1946", "64:ff9b::5db8:d822"])
def test_addresses_that_are(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "uri",
    [
        "http://127.0.0.1/x", "http://localhost/x", "http://0x7f.1/x", "http://2130706433/x", "http://0177.0.0.1/x",
        "http://127.1/x", "http://0/x", "http://[::1]/x", "http://[::ffff:127.0.0.1]/x", "http://[::ffff:7f00:1]/x",
        "http://0x7f000001/x", "https://localhost./x",
    ],
)  # fmt: skip
def test_odd_notations_of_this_machine_are_seen_through(uri: str) -> None:
    with pytest.raises(InputError, match=r"public internet|not found"):
        target_of(uri, InputSettings())


@pytest.mark.parametrize(
    "uri",
    [
        "http://user@example.org/x", "http://user:secret@example.org/x", "http://example.org@127.0.0.1/x", "http:///x",
        "http://example.org:99999/x", "http://example.org:0x50/x", "http://example.org:22/x", "http://exa mple.org/x",
        "http://example.org\\@127.0.0.1/x", "http://example.org/\r\nX-Injected: 1", "http://example.org/\tx",
        "http://ex%61mple.org/x", "http://例え.jp/x", "http://[::1/x", "http://" + "a" * 300 + ".org/x",
        "http://example.org/" + "a" * 5000,
    ],
)  # fmt: skip
def test_addresses_that_can_be_read_in_two_ways_are_refused(uri: str) -> None:
    with pytest.raises(InputError):
        target_of(uri, InputSettings(), resolve=lambda _, __: [PUBLIC])


def test_every_address_of_a_name_must_be_public_and_the_checked_one_is_used() -> None:
    with pytest.raises(InputError, match="public internet"):
        target_of("http://example.org/x", InputSettings(), resolve=lambda _, __: [PUBLIC, "10.0.0.1"])
    target = target_of("https://example.org/x?y=1", InputSettings(), resolve=lambda _, __: [PUBLIC])
    assert (target.address, target.host, target.port, target.path) == (PUBLIC, "example.org", 443, "/x?y=1")
    with pytest.raises(InputError, match="none of those"):
        target_of("https://example.org/x", InputSettings(hosts=("pictures.example",)), resolve=lambda _, __: [PUBLIC])


def fetcher(**changes: Any) -> Fetcher:
    values = {"is_private_allowed": True, "ports": (), "timeout_s": 5.0, **changes}
    return Fetcher(InputSettings(**values), Files(Settings()))


def test_fetching() -> None:
    with server(sends(b"picture")) as port:
        assert fetcher().fetch(f"http://127.0.0.1:{port}/x.png") == b"picture"
        assert fetcher().fetch(f"HTTP://127.0.0.1:{port}/x.png") == b"picture"


def test_what_is_too_long_is_cut_off_whatever_it_announces() -> None:
    for announced in (None, 10, 10**12):
        with server(sends(bytes(200_000), announced=announced)) as port:
            uri = f"http://127.0.0.1:{port}/x"
            if announced == 10:
                assert len(fetcher(max_bytes=1000).fetch(uri)) == 10
            else:
                with pytest.raises(InputError, match="more than 1000 bytes"):
                    fetcher(max_bytes=1000).fetch(uri)


def test_a_body_that_drips_ends_in_time() -> None:
    def drip(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        for _ in range(200):
            try:
                handler.wfile.write(b"x")
                handler.wfile.flush()
            except OSError:
                return
            time.sleep(0.05)

    with server(drip) as port:
        begun_s = time.monotonic()
        with pytest.raises(InputError, match="did not arrive within"):
            fetcher(timeout_s=0.5).fetch(f"http://127.0.0.1:{port}/x")
        assert time.monotonic() - begun_s < 3.0


def test_headers_that_drip_end_in_time() -> None:
    def drip(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
        for _ in range(200):
            try:
                handler.wfile.write(b"X-More: x\r\n")
                handler.wfile.flush()
            except OSError:
                return
            time.sleep(0.05)

    with server(drip) as port, pytest.raises(InputError):
        fetcher(timeout_s=0.5).fetch(f"http://127.0.0.1:{port}/x")


def test_a_tls_connection_that_drips_ends_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def drip(listener: ssl.SSLSocket) -> None:
        with suppress(OSError), listener.accept()[0] as asked:
            asked.recv(4096)
            asked.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            for _ in range(100):
                asked.sendall(b"x")
                time.sleep(0.05)

    connect = socket.create_connection

    def connect_slowly(*arguments: Any, **named: Any) -> socket.socket:
        time.sleep(0.6)  # longer than the whole fetch may take: the time is over when TLS begins
        return connect(*arguments, **named)

    monkeypatch.setattr("socket.create_connection", connect_slowly)
    asking = fetcher(timeout_s=0.5)
    with tls_listener(tmp_path) as (listener, trusted):
        asking._tls.load_verify_locations(trusted)
        threading.Thread(target=drip, args=(listener,), daemon=True).start()
        begun_s = time.monotonic()
        with pytest.raises(InputError, match="did not arrive within"):
            asking.fetch(f"https://localhost:{listener.getsockname()[1]}/x")
        assert time.monotonic() - begun_s < 2.0


def test_redirects_are_followed_a_few_times_and_checked_each_time() -> None:
    with server(sends(b"picture")) as end, server(redirects(f"http://127.0.0.1:{end}/x")) as port:
        assert fetcher().fetch(f"http://127.0.0.1:{port}/") == b"picture"
    with server(redirects("/again")) as port, pytest.raises(InputError, match="sends on more than 3 times"):
        fetcher().fetch(f"http://127.0.0.1:{port}/")
    for to in (
        "file:///etc/passwd",
        "ftp://example.org/x",
        "data:image/png;base64,AAAA",
        "gopher://x",
        "",
        "http://[x",
    ):
        with server(redirects(to)) as port, pytest.raises(InputError):
            fetcher().fetch(f"http://127.0.0.1:{port}/")


def test_a_redirect_into_the_private_network_is_not_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def secret(handler: BaseHTTPRequestHandler) -> None:
        asked.append(handler.path)
        sends(b"secret")(handler)

    # 127.0.0.2 plays the internet, so that a public server can be had here; all else is judged as ever.
    monkeypatch.setattr(addresses, "is_public", lambda text: text == "127.0.0.2" or is_public(text))
    resolve = {"public.example": ["127.0.0.2"], "127.0.0.1": ["127.0.0.1"], "both.example": ["127.0.0.2", "10.0.0.1"]}
    with server(secret) as inside:
        for to in (f"http://127.0.0.1:{inside}/latest/meta-data", f"http://both.example:{inside}/"):
            with server(redirects(to), host="127.0.0.2") as port:
                asking = Fetcher(
                    InputSettings(ports=(), timeout_s=5.0), Files(Settings()), resolve=lambda host, _: resolve[host]
                )
                with pytest.raises(InputError, match="public internet"):
                    asking.fetch(f"http://public.example:{port}/")
    assert asked == []


@pytest.mark.parametrize(
    "uri",
    [
        "file:///etc/passwd",
        "/etc/passwd",
        "../x",
        "ftp://x/y",
        "gopher://x",
        "s3://bucket/key",
        "memory://x/y",
        "",
        "x:y",
    ],
)
def test_other_schemes_are_not_taken(uri: str) -> None:
    with pytest.raises(InputError, match="are not taken"):
        fetcher().fetch(uri)


def test_buckets_that_were_not_named_are_not_read() -> None:
    with pytest.raises(InputError, match="none of those"):
        fetcher(schemes=("s3",), s3_buckets=("pictures",)).fetch("s3://secrets/key")


def test_data_in_the_address() -> None:
    picture = png()
    text = base64.b64encode(picture).decode()
    assert fetcher().fetch(f"data:image/png;base64,{text}") == picture
    assert fetcher().fetch("data:,a%20b") == b"a b"
    for wrong in ("data:image/png;base64", "data:image/png;base64,###", "data:image/png;base64," + "A" * 5_000_000):
        with pytest.raises(InputError):
            fetcher(max_bytes=1_000_000).fetch(wrong)


@pytest.fixture(scope="module")
def decoder() -> Iterator[BoundedDecoder]:
    opened = BoundedDecoder(Bounds(max_pixels=4_000_000), num_processes=1)
    yield opened
    opened.close()


def test_pictures_are_looked_at_apart(decoder: BoundedDecoder) -> None:
    assert (decoder.look(png(12, 34)).width, decoder.look(png(12, 34)).height) == (12, 34)
    assert decoder.look(png()).format == "PNG"


@pytest.mark.parametrize(
    "data",
    [
        b"", b"GIF89a", b"RIFF....WEBPVP8 ", png()[:60], b"\x89PNG\r\n\x1a\n" + bytes(99), b"\xff\xd8\xff" + bytes(99),
        zeros_png(4000, 4000), zeros_png(10, 10, claimed=(60_000, 60_000)), b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"%PDF-1.4", b"#!/bin/sh\nid", b"PK\x03\x04",
    ],
)  # fmt: skip
def test_what_is_no_picture_or_too_large_is_refused(decoder: BoundedDecoder, data: bytes) -> None:
    with pytest.raises(InputError):
        decoder.look(data)


@pytest.mark.parametrize(
    "bounds",
    [
        Bounds(max_pixels=10**9, memory_bytes=40 << 20),
        Bounds(max_pixels=10**9, memory_bytes=4 << 30, wall_s=0.02),
    ],
)
def test_a_picture_that_takes_too_much_ends_alone(bounds: Bounds) -> None:
    decoder = BoundedDecoder(bounds, num_processes=1)
    try:
        with pytest.raises(InputError, match="more memory or time"):
            decoder.look(zeros_png(6000, 6000))
        if bounds.wall_s > 1:
            assert decoder.look(png()).width == 8
    finally:
        decoder.close()


def test_the_decoder_has_no_secrets_and_comes_back_when_it_died(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    decoder = BoundedDecoder(Bounds(), num_processes=1)
    try:
        assert decoder.look(png()).width == 8
        process = decoder._all[0]._process
        assert process is not None
        assert b"secret" not in Path(f"/proc/{process.pid}/environ").read_bytes()
        process.kill()
        process.wait()
        assert decoder.look(png()).width == 8
    finally:
        decoder.close()
