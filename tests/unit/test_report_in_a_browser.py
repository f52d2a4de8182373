"""The report's page in a real browser, from a folder and from a server: it filters, searches and plays."""

from __future__ import annotations

import base64
import hashlib
import http.server
import json
import os
import queue
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from urllib.parse import unquote

import pytest
from example_run import HOSTILE, RUN, report_of
from services.endpoint import skip_or_fail

from farm.storage import LocalStorage


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves a folder, and takes what the page under test has to say."""

    verdicts: queue.Queue[str]

    def do_GET(self) -> None:
        if self.path.startswith("/verdict?"):
            self.verdicts.put(unquote(self.path.partition("?")[2]))
            self.send_error(204)
        else:
            super().do_GET()

    def log_message(self, *args: object) -> None:
        pass


@contextmanager
def serving(folder: Path) -> Iterator[tuple[str, queue.Queue[str]]]:
    verdicts: queue.Queue[str] = queue.Queue()
    handler = type("FolderHandler", (Handler,), {"verdicts": verdicts})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}", verdicts
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def browsing(browser: str, address: str, *, profile: Path) -> Iterator[None]:
    """A headless browser that shows the page until the block ends."""
    command = [
        browser,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-background-networking",
        "--no-first-run",
    ]
    command += ["--disable-component-update", "--autoplay-policy=no-user-gesture-required", "--remote-debugging-port=0"]
    command += [f"--user-data-dir={profile}", address]
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True, env=home_in(profile)
    )
    try:
        yield
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def home_in(folder: Path) -> dict[str, str]:
    return {**os.environ, "HOME": str(folder)}


# Runs in the page after its own script: uses it, and tells what it saw once the first clip has played a little.
PROBE = """
addEventListener("load", () => {
  const sheet = document.getElementById("sheet"), verdict = {};
  verdict.title = document.title;
  verdict.cards = sheet.children.length;
  verdict.first = sheet.querySelector("p").textContent;
  document.querySelector('[data-status="failed"]').click();
  verdict.failed = [...sheet.querySelectorAll("p")].map((p) => p.textContent);
  document.querySelector('[data-status="all"]').click();
  const [first, second] = sheet.querySelectorAll("button");
  second.dispatchEvent(new PointerEvent("pointerenter", {pointerType: "mouse"}));
  verdict.preview = sheet.querySelectorAll("video").length;
  second.dispatchEvent(new PointerEvent("pointerleave", {pointerType: "mouse"}));
  verdict.afterwards = sheet.querySelectorAll("video").length;
  first.focus();
  first.dispatchEvent(new KeyboardEvent("keydown", {key: "ArrowRight", bubbles: true}));
  verdict.focused = document.activeElement === second;
  first.click();
  const video = document.querySelector("#stage video"), search = document.getElementById("search");
  video.muted = true; video.play();
  search.value = "FAILS cube";
  search.dispatchEvent(new Event("input"));
  const look = setInterval(() => {
    verdict.searched = sheet.children.length;
    verdict.time = video.currentTime; verdict.width = video.videoWidth;
    verdict.strip = document.querySelector(".about img").naturalWidth;
    const isThrough = verdict.searched === 1 && verdict.time > 0 && verdict.strip > 0;
    if (!isThrough && performance.now() < 60000) return;
    clearInterval(look);
    new Image().src = "ADDRESS/verdict?" + encodeURIComponent(JSON.stringify(verdict));
  }, 100);
});
"""


def with_probe(text: str, address: str) -> str:
    """The page with the probe as a second script that its policy admits; all else stays forbidden."""
    probe = PROBE.replace("ADDRESS", address)
    digest = base64.b64encode(hashlib.sha256(probe.encode()).digest()).decode()
    return text.replace("script-src ", f"script-src 'sha256-{digest}' ").replace(
        "</body>", f"<script>{probe}</script></body>"
    )


@pytest.mark.parametrize("place", ["file", "http"])
def test_page_plays_in_a_browser(place: str, local_run: LocalStorage, tmp_path: Path) -> None:
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        skip_or_fail("chromium", "chromium is not installed")
    folder = local_run.root / "runs" / RUN
    with serving(local_run.root) as (address, verdicts):
        (folder / "probed.html").write_text(with_probe(report_of(local_run), address))
        base = folder.as_uri() if place == "file" else f"{address}/runs/{RUN}"
        with browsing(browser, f"{base}/probed.html", profile=tmp_path / "browser"):
            verdict = json.loads(verdicts.get(timeout=150))
    assert verdict == {
        "title": "Run 01234567",
        "cards": 7,
        "first": HOSTILE,
        "failed": ["a cube that fails", "RenderError: NaN in the latents at step 7 </script>"],
        "preview": 1,
        "afterwards": 0,
        "focused": True,
        "searched": 1,
        "time": verdict["time"],
        "width": 96,
        "strip": 8 * 96,
    }
    assert verdict["time"] > 0
