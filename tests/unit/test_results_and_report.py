"""Results cover each manifest row once; the page shows them, escapes what strangers wrote, and plays."""

from __future__ import annotations

import base64
import hashlib
import html.parser
import http.server
import json
import os
import queue
import re
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from services.endpoint import skip_or_fail

from farm import ledger, results
from farm.media import Thumbnailer, VideoWriter
from farm.provenance import Execution, Worker, build_record
from farm.report import RunFacts, page, write_report
from farm.results import read_results, write_results
from farm.row_files import ADMITTED_SCHEMA, REJECTED_SCHEMA
from farm.spec import ClipSpec
from farm.storage import LocalStorage, MemoryStorage, Storage

RUN = "0123456789abcdef"
HOSTILE = (
    "</script><script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\"> $title & \u2028"
)
FACTS = RunFacts(
    run_id=RUN,
    manifest_uri="prompts & <more>.parquet",
    model_name="nano",
    finished_at="2026-01-01 12:00 UTC",
    wall_seconds=60.0,
    num_rendered=3,
    currency="USD",
)


def make_spec(prompt: str, seed: int, *, width: int = 64, num_frames: int = 17) -> ClipSpec:
    return ClipSpec(
        prompt=prompt,
        negative_prompt="",
        seed=seed,
        width=width,
        height=64,
        render_width=width,
        render_height=64,
        num_frames=num_frames,
        fps=8,
        num_inference_steps=20,
        guidance_high=3.0,
        guidance_low=3.0,
        shift=3.0,
        solver="unipc",
        profile="official",
        model="0" * 64,
        dtype="float32",
        codec="h264",
    )


def make_frames(seed: int, *, width: int = 64, num_frames: int = 17) -> np.ndarray:
    rng = np.random.default_rng(seed)
    ground, ball = rng.integers(0, 256, (2, 3), dtype=np.uint8)
    rows, columns = np.mgrid[:64, :width]
    frames = np.broadcast_to(ground, (num_frames, 64, width, 3)).copy()
    for number in range(num_frames):
        at = 12 + number * (width - 24) // num_frames
        frames[number, (rows - 32) ** 2 + (columns - at) ** 2 < 100] = ball
    return frames


def commit_clip(out: Storage, spec: ClipSpec, folder: Path) -> str:
    frames = make_frames(spec.seed, width=spec.width, num_frames=spec.num_frames)
    thumbnailer = Thumbnailer(spec.num_frames)
    thumbnailer.look(frames)
    spool = folder / "spool.mp4"
    with VideoWriter(spool, width=spec.width, height=spec.height, fps=spec.fps, metadata={}) as video:
        video.write(frames)
        encoded = video.close()
    record = build_record(
        spec,
        model_name="nano",
        sha256=encoded.sha256,
        size_bytes=encoded.size_bytes,
        execution=Execution(device="cpu", threads=1, attention="sdpa", libraries={}, encoder={}),
        worker=Worker(host="worker-1", pid=1),
        committed_at="2026-01-01T00:00:00Z",
        timings={"denoise": 1.5, "decode": 0.5},
        device_seconds=2.0,
        cost=0.25,
        currency="USD",
        attempts=1,
        warnings=("under 20 steps",),
    )
    artifacts = ledger.Artifacts(video=spool, thumbnail=thumbnailer.poster(), strip=thumbnailer.strip())
    assert ledger.commit_clip(out, record, artifacts=artifacts).has_won
    return spec.clip_id


def fail_clip(out: Storage, spec: ClipSpec) -> str:
    letter = ledger.DeadLetter(
        clip_id=spec.clip_id,
        run_id=RUN,
        row={"prompt": spec.prompt},
        error_class="RenderError",
        message="NaN in the latents at step 7 </script>",
        traceback="",
        attempts=2,
        worker="worker-2",
        failed_at="2026-01-01T00:00:00Z",
        command="",
    )
    ledger.write_failure(out, letter)
    return spec.clip_id


def admitted(row: int, spec: ClipSpec, **other: Any) -> dict[str, Any]:
    return {
        "row": row,
        "id": f"clip-{row}",
        "clip_id": spec.clip_id,
        "model_name": "nano",
        "seed": spec.seed,
        "width": spec.width,
        "height": spec.height,
        "num_frames": spec.num_frames,
        "fps": spec.fps,
        "priority": 0,
        "warnings": ["clip is short"],
        "tags": [("scene", "1")],
        "kept": None,
        **other,
    }


def write_plan(out: Storage, rows: list[dict[str, Any]], rejected: list[dict[str, Any]]) -> None:
    for name, lines, schema in (("rows", rows, ADMITTED_SCHEMA), ("rejected", rejected, REJECTED_SCHEMA)):
        sink = pa.BufferOutputStream()
        pq.write_table(pa.Table.from_pylist(lines, schema=schema), sink)
        out.replace(f"runs/{RUN}/{name}.parquet", sink.getvalue().to_pybytes())


def make_run(out: Storage, folder: Path, *, num_clips: int = 3, num_frames: int = 17) -> None:
    """Rows: committed ones, a repeated one, a failed one, a pending one, a rejected one."""
    specs = [make_spec(f"a ball, number {seed}", seed, num_frames=num_frames) for seed in range(num_clips)]
    specs[0] = make_spec(HOSTILE, 0, width=96, num_frames=num_frames)
    for spec in specs:
        commit_clip(out, spec, folder)
    failed, pending = make_spec("a cube that fails", 900), make_spec("a cone that waits", 901)
    fail_clip(out, failed)
    rows = [admitted(number, spec) for number, spec in enumerate([*specs, specs[1], failed])]
    rows.append(admitted(len(rows) + 1, pending))
    rejected = {
        "row": len(rows) - 1,
        "id": None,
        "faults": ["width: 65 is no multiple of 16", "seed: <b>negative</b>"],
        "request": json.dumps({"prompt": "a bad row"}),
        "kept": None,
    }
    write_plan(out, rows, [rejected])


@pytest.fixture
def local_run(tmp_path: Path) -> LocalStorage:
    out = LocalStorage(tmp_path / "out")
    make_run(out, tmp_path)
    return out


def test_results_cover_each_row_once_in_order(local_run: LocalStorage) -> None:
    totals = write_results(local_run, RUN)
    rows = list(read_results(local_run, RUN))
    assert [row["row"] for row in rows] == list(range(7))
    assert [row["status"] for row in rows] == ["committed"] * 4 + ["failed", "rejected", "pending"]
    first, repeated, failed, rejected = rows[0], rows[3], rows[4], rows[5]
    assert Path(first["uri"]).read_bytes()[4:8] == b"ftyp"
    assert first["seconds"] == {"denoise": 1.5, "decode": 0.5}
    assert first["warnings"] == ["clip is short", "under 20 steps"]
    assert first["tags"] == {"scene": "1"}
    assert first["worker"] == "worker-1"
    assert repeated["sha256"] == rows[1]["sha256"]
    assert (failed["error_class"], failed["attempts"], failed["uri"]) == ("RenderError", 2, None)
    assert rejected["error"] == "width: 65 is no multiple of 16; seed: <b>negative</b>"
    assert rejected["prompt"] == "a bad row"
    assert totals.rows == {"committed": 4, "failed": 1, "rejected": 1, "pending": 1}
    assert (totals.num_clips, totals.device_seconds, totals.cost) == (3, 6.0, 0.75)
    assert totals.stage_seconds == {"denoise": 4.5, "decode": 1.5}


def test_results_in_several_parts_leave_no_stale_part(local_run: LocalStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "PART_ROWS", 2)
    write_results(local_run, RUN)
    assert len(list(local_run.names(f"runs/{RUN}/results"))) == 4
    several = list(read_results(local_run, RUN))
    monkeypatch.setattr(results, "PART_ROWS", 100)
    write_results(local_run, RUN)
    assert len(list(local_run.names(f"runs/{RUN}/results"))) == 1
    assert list(read_results(local_run, RUN)) == several


def test_a_run_without_rows_has_results_with_columns() -> None:
    out = MemoryStorage("no rows")
    write_plan(out, [], [])
    assert sum(write_results(out, RUN).rows.values()) == 0
    data = out.read(f"runs/{RUN}/results/part-00000.parquet")
    assert pq.read_schema(pa.BufferReader(data)).names == results.SCHEMA.names


class Tags(html.parser.HTMLParser):
    """The page as a browser cuts it up: its elements, and the text inside scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag == "script":
            self.scripts.append("")

    def handle_data(self, data: str) -> None:
        if self.lasttag == "script" and self.cdata_elem == "script":
            self.scripts[-1] += data


def render(out: Storage) -> str:
    totals = write_results(out, RUN)
    return out.read(write_report(out, FACTS, totals=totals)).decode()


def test_what_strangers_wrote_stays_text(local_run: LocalStorage) -> None:
    text = render(local_run)
    tags = Tags(text)
    assert [tag for tag, _ in tags.found].count("script") == 2
    assert "img" not in [tag for tag, _ in tags.found]
    assert "<b>" not in text
    cards = json.loads(tags.scripts[0])
    assert cards[0]["prompt"] == HOSTILE
    assert cards[4]["error"] == "NaN in the latents at step 7 </script>"
    assert "prompts &amp; &lt;more&gt;.parquet" in text


def test_page_asks_for_nothing_but_what_lies_beside_it(local_run: LocalStorage) -> None:
    text = render(local_run)
    tags = Tags(text)
    outside = [
        attributes for tag, attributes in tags.found if tag != "link" for name in ("src", "href") if name in attributes
    ]
    assert outside == []
    assert "innerHTML" not in tags.scripts[1]
    assert not re.search(r"https?://", tags.scripts[1])
    for card in json.loads(tags.scripts[0]):
        for name in ("video", "poster", "strip", "record"):
            if card["status"] == "committed":
                assert card[name].startswith("../../")
                assert (local_run.root / "runs" / RUN / card[name]).resolve().is_file()


def test_a_large_run_keeps_its_faults_on_the_page(local_run: LocalStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "MAX_CARDS", 3)
    text = render(local_run)
    cards = json.loads(Tags(text).scripts[0])
    assert [card["status"] for card in cards] == ["committed", "failed", "rejected"]
    assert "Shown are 3 of 7 rows" in text


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
        (folder / "probed.html").write_text(with_probe(render(local_run), address))
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
