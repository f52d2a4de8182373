"""Pictures of the console for the docs: `make screenshots`."""

from __future__ import annotations

import io
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from online_farm import OnlineFarm, eventually
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from farm.queue.job import JobFault

PROMPTS = (
    "a red circle moving right on a black background",
    "a yellow cross falling on a brown background",
    "a cyan triangle moving up on a navy background",
    "a white circle standing still on a navy background",
    "a green square moving left on a gray background",
    "an orange circle falling on a black background",
)


def main(folder: Path) -> None:
    found = shutil.which("chromium") or shutil.which("google-chrome")
    if found is None:
        sys.exit("screenshots need chromium: bash tests/services/install.sh chromium")
    with tempfile.TemporaryDirectory() as out, OnlineFarm.start(Path(out)) as farm, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox", "--disable-gpu"])
        fill(farm)
        with farm.rendering(preview_every_s=0.05):
            progress(farm, browser, folder)
        shots(farm, browser, folder)
        browser.close()


def fill(farm: OnlineFarm) -> None:
    """Clips that were made, one that failed, and one that was cancelled."""
    client = farm.client()
    failed = client.post("/v1/videos", json={"prompt": "a purple cross moving up on a gray background"}).json()["id"]
    advice = "ask for a smaller or shorter clip"
    farm.fail(failed, JobFault(code="out_of_memory", message="the clip does not fit into memory", advice=advice))
    cancelled = client.post("/v1/videos", json={"prompt": "a blue square moving left on a black background"}).json()
    client.post(f"/v1/videos/{cancelled['id']}/cancel")
    ids = [client.post("/v1/videos", json={"prompt": prompt, "seed": 7}).json()["id"] for prompt in PROMPTS]
    with farm.rendering():
        eventually(lambda: all(farm.store.state(job_id).is_end for job_id in ids), timeout_s=300)


def progress(farm: OnlineFarm, browser: Browser, folder: Path) -> None:
    for seed in range(6):
        steps = {"num_inference_steps": 100, "num_frames": 25, "size": "96x64", "seed": seed}
        farm.client().post("/v1/videos", json={"prompt": "a purple circle moving right on a brown background", **steps})
    page = opened(farm, browser, width=1280)
    page.locator(".card[data-status=in_progress] img.preview").first.wait_for(timeout=60_000)
    page.wait_for_timeout(700)
    keep(page, folder / "console-progress.webp")
    page.goto(f"{farm.base_url}/#/queue")
    page.locator("td", has_text="busy").or_(page.locator("td", has_text="rendering")).first.wait_for(timeout=20_000)
    keep(page, folder / "console-queue.webp")
    eventually(lambda: farm.store.open_ids() == set(), timeout_s=300)


def shots(farm: OnlineFarm, browser: Browser, folder: Path) -> None:
    for name, scheme in (("console", "light"), ("console-dark", "dark")):
        page = opened(farm, browser, width=1280, color_scheme=scheme)
        page.locator(".card").nth(5).wait_for()
        keep(page, folder / f"{name}.webp")
    page.locator(".card[data-status=completed] a.open").nth(3).click()
    page.wait_for_timeout(1500)
    keep(page, folder / "console-clip.webp")
    page.keyboard.press("Escape")
    page.locator(".filters button", has_text="Failed").click()
    page.locator(".card[data-status=failed] a.open").click()
    page.wait_for_timeout(500)
    keep(page, folder / "console-failure.webp")
    phone = opened(farm, browser, width=360, height=740)
    phone.locator(".card").nth(3).wait_for()
    keep(phone, folder / "console-phone.webp")


def opened(farm: OnlineFarm, browser: Browser, *, width: int, height: int = 860, **options: Any) -> Page:
    page = browser.new_context(viewport={"width": width, "height": height}, **options).new_page()
    page.goto(farm.base_url)
    page.locator(".composer").wait_for(state="attached")
    page.wait_for_timeout(800)
    return page


def keep(page: Page, path: Path) -> None:
    """As WebP, which is a third of a PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with Image.open(io.BytesIO(page.screenshot())) as image:
        image.convert("RGB").save(path, quality=88, method=6)
    print(f"{path} ({path.stat().st_size // 1024} kB)")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
