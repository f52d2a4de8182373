"""Rows' images: where they come from, that they count by content, and which are refused."""

from __future__ import annotations

import io
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from manifests import faults, plan, write
from PIL import Image

from farm.files import Files
from farm.settings import Settings
from farm.storage import MemoryStorage


def picture(path: Path, size: tuple[int, int] = (64, 64), colour: str = "red") -> Path:
    Image.new("RGB", size, colour).save(path)
    return path


def test_images_stand_beside_the_manifest_and_count_by_content(tmp_path: Path, settings: Settings) -> None:
    def clip_ids(folder: str, colour: str) -> list[str]:
        (tmp_path / folder).mkdir()
        picture(tmp_path / folder / "a.png", colour=colour)
        uri = write(tmp_path / folder / "m.jsonl", [{"prompt": "x", "image": "a.png", "seed": 1}])
        out = MemoryStorage(str(tmp_path / folder))
        rows = pq.read_table(io.BytesIO(out.read(plan(uri, settings, out=out).rows_path)))
        return list(rows.column("clip_id").to_pylist())

    assert clip_ids("one", "red") == clip_ids("two", "red") != clip_ids("three", "blue")


def test_known_images_are_not_read_again_until_they_change(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_uris: list[str] = []
    original = Files.read
    monkeypatch.setattr(
        Files, "read", lambda self, uri, **limits: (read_uris.append(uri), original(self, uri, **limits))[1]
    )
    path = picture(tmp_path / "a.png")
    uri = write(tmp_path / "m.jsonl", [{"prompt": str(n), "image": "a.png"} for n in range(3)])
    assert plan(uri, settings).num_remaining == 3
    assert plan(uri, settings).num_remaining == 3
    assert read_uris == [str(path)]
    picture(path, colour="blue")
    assert plan(uri, settings).num_remaining == 3
    assert len(read_uris) == 2


def test_images_that_are_too_large_are_refused(tmp_path: Path, settings: Settings) -> None:
    picture(tmp_path / "a.png", (200, 100))
    uri = write(tmp_path / "m.jsonl", [{"prompt": "x", "image": "a.png"}])
    small = Settings(cache_dir=settings.cache_dir, max_image_pixels=10_000)
    (fault,) = faults(uri, small)[0]
    assert "200x100 pixels" in fault
    tiny = Settings(cache_dir=settings.cache_dir, max_input_bytes=10)
    (fault,) = faults(uri, tiny)[0]
    assert "more than 10 bytes" in fault
    assert faults(uri, settings) == {}
    assert len(faults(uri, small)) == 1  # what passed under wider limits is no pass


def test_an_unwritable_cache_costs_only_time(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    (tmp_path / "file").touch()
    uri = write(tmp_path / "m.jsonl", [{"prompt": "x", "image": "a.png"}])
    assert plan(uri, Settings(cache_dir=tmp_path / "file" / "cache")).num_remaining == 1


def test_what_is_no_file_is_no_image(tmp_path: Path, settings: Settings) -> None:
    os.mkfifo(tmp_path / "pipe")
    images = (".", "gopher://a/b", "pipe")
    uri = write(tmp_path / "m.jsonl", [{"prompt": "x", "image": image} for image in images])
    found = faults(uri, settings)
    assert "it is no regular file" in found[2][0]
    assert "it is a folder" in found[0][0]
    assert "gopher:// is none of" in found[1][0]


class _Silent(BaseHTTPRequestHandler):
    """Serves one picture; what lies under /slow never comes."""

    picture = b""
    is_over = threading.Event()

    def do_GET(self) -> None:
        if self.path.startswith("/slow"):
            self.is_over.wait(10)
            return
        has_it = self.path == "/a.png"
        self.send_response(200 if has_it else 404)
        self.send_header("ETag", "v1")
        self.send_header("Content-Length", str(len(self.picture) if has_it else 0))
        self.end_headers()
        if has_it and self.command == "GET":
            self.wfile.write(self.picture)

    do_HEAD = do_GET

    def log_message(self, *_: object) -> None:
        """Keep the test's output clean."""


def test_images_come_from_the_web_or_are_given_up(tmp_path: Path) -> None:
    _Silent.picture = picture(tmp_path / "a.png").read_bytes()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Silent)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    base = f"http://127.0.0.1:{server.server_port}"
    rows = [{"prompt": "x", "image": f"{base}/{name}.png"} for name in ("a", "missing", "slow")]
    try:
        found = faults(write(tmp_path / "m.jsonl", rows), Settings(cache_dir=tmp_path / "cache", input_timeout_s=0.5))
    finally:
        _Silent.is_over.set()
        server.shutdown()
        server.server_close()
    assert sorted(found) == [1, 2]
    assert "missing.png: it does not exist" in found[1][0]
    assert "cannot read" in found[2][0]
