"""What a person does with the console: submit, watch, play, cancel, retry, remix, and everything else."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from online_farm import OnlineFarm, eventually
from PIL import Image
from playwright.sync_api import Page, expect

from deployments.api.settings import ApiSettings
from farm.queue.job import JobFault
from farm.settings import Settings

Visit = Callable[..., Page]

PROMPT = "a yellow square moving right on a navy background"


def submit(page: Page, prompt: str) -> None:
    page.get_by_label("Prompt", exact=True).fill(prompt)
    page.get_by_role("button", name=re.compile("^Render")).click()


def card(page: Page, prompt: str) -> Any:
    return page.locator(".card").filter(has_text=prompt).first


def open_clip(page: Page, prompt: str) -> Any:
    card(page, prompt).get_by_role("link", name=prompt).click()
    dialog = page.locator("dialog.viewer[open]")
    expect(dialog).to_be_visible()
    return dialog


def is_shown(page: Page) -> dict[str, Any]:
    """What the dialog's player shows: its time, its size, and the mean of its pixels' red, green and blue."""
    shown: dict[str, Any] = page.evaluate("""() => {
        const film = document.querySelector("dialog.viewer video");
        const canvas = document.createElement("canvas");
        canvas.width = film.videoWidth; canvas.height = film.videoHeight;
        const context = canvas.getContext("2d");
        context.drawImage(film, 0, 0);
        const pixels = context.getImageData(0, 0, canvas.width, canvas.height).data;
        const sums = [0, 0, 0];
        pixels.forEach((value, at) => { if (at % 4 < 3) sums[at % 4] += value; });
        const mean = sums.map((sum) => sum * 4 / pixels.length);
        return {time: film.currentTime, size: [canvas.width, canvas.height], mean};
    }""")
    return shown


def test_text_to_a_clip_that_plays(nano: OnlineFarm, visit: Visit) -> None:
    page = visit(nano)
    submit(page, PROMPT)
    expect(card(page, PROMPT)).to_have_attribute("data-status", "completed", timeout=60_000)
    dialog = open_clip(page, PROMPT)
    eventually(lambda: page.evaluate("document.querySelector('dialog.viewer video')?.currentTime > 0.3"), timeout_s=15)
    shown = is_shown(page)
    assert shown["size"] == [64, 64]
    red, green, blue = shown["mean"]
    assert blue > 40  # navy
    assert red > 20  # and a yellow square
    assert green > 20
    expect(dialog).to_contain_text("17 frames")
    expect(dialog).to_contain_text("device-seconds")
    with page.expect_download() as saved:
        dialog.get_by_role("button", name="Download").click()
    data = Path(saved.value.path()).read_bytes()
    assert data[4:8] == b"ftyp"
    page.keyboard.press("Escape")
    expect(dialog).not_to_be_visible()


def test_an_image_begins_the_clip(nano: OnlineFarm, visit: Visit, tmp_path: Path) -> None:
    picture = tmp_path / "first.png"
    Image.new("RGB", (64, 64), (112, 112, 112)).save(picture)
    page = visit(nano)
    page.get_by_role("radio", name="From an image").check()
    submit(page, "a red circle moving up on a gray background")
    expect(page.locator("#field-image-fault")).to_contain_text("Choose the picture")
    page.locator("#field-image").set_input_files(picture)
    expect(page.locator(".picture canvas")).to_be_visible()
    page.get_by_role("button", name=re.compile("^Render")).click()
    prompt = "a red circle moving up on a gray background"
    expect(card(page, prompt)).to_have_attribute("data-status", "completed", timeout=60_000)
    (job,) = [view.job for view in nano.store.list(None).jobs if view.job.spec.prompt == prompt]
    assert job.spec.image is not None


def test_progress_with_previews_then_cancel(fake: OnlineFarm, visit: Visit) -> None:
    page = visit(fake)
    submit(page, "a red circle fake:slow=20")
    made = card(page, "a red circle")
    expect(made).to_have_attribute("data-status", "in_progress")
    expect(made.locator("img.preview")).to_be_visible()
    expect(made).to_contain_text(re.compile(r"Step \d+ of 20|\d+ of 20"))
    made.get_by_role("button", name="Cancel").click()
    expect(made).to_have_attribute("data-status", "cancelled")
    (view,) = fake.store.list(None).jobs
    assert view.state.status == "cancelled"
    assert (view.state.step or 0) < 20


def test_a_failure_says_why_and_is_tried_again(idle: OnlineFarm, visit: Visit) -> None:
    page = visit(idle)
    submit(page, "a cross that fails")
    made = card(page, "a cross that fails")
    expect(made).to_have_attribute("data-status", "queued")
    (job_id,) = idle.store.open_ids()
    idle.fail(job_id, JobFault(code="out_of_memory", message="it does not fit", advice="ask for a smaller clip"))
    expect(made).to_have_attribute("data-status", "failed")
    expect(made).to_contain_text("does not fit")
    dialog = open_clip(page, "a cross that fails")
    expect(dialog).to_contain_text(re.compile("smaller clip", re.IGNORECASE))
    page.keyboard.press("Escape")
    with idle.finishing():
        made.get_by_role("button", name="Retry").click()
        expect(page.locator(".card[data-status=completed]")).to_have_count(1)
    assert len(idle.store.list(None).jobs) == 2


def test_a_remix_keeps_its_clips_settings(idle: OnlineFarm, visit: Visit) -> None:
    page = visit(idle)
    with idle.finishing():
        submit(page, "a first clip")
        expect(card(page, "a first clip")).to_have_attribute("data-status", "completed")
    open_clip(page, "a first clip").get_by_role("button", name="Remix").click()
    page.get_by_label("Prompt", exact=True).fill("a remix of it")
    page.get_by_role("button", name="Render remix").click()
    expect(card(page, "a remix of it")).to_be_visible()
    jobs = {view.job.spec.prompt: view.job for view in idle.store.list(None).jobs}
    first, remix = jobs["a first clip"], jobs["a remix of it"]
    assert remix.remixed_from == first.id
    assert remix.spec.model_copy(update={"prompt": first.spec.prompt}) == first.spec


def test_deleting_asks_first(idle: OnlineFarm, visit: Visit) -> None:
    page = visit(idle)
    with idle.finishing():
        submit(page, "a clip to delete")
        expect(card(page, "a clip to delete")).to_have_attribute("data-status", "completed")
    open_clip(page, "a clip to delete").get_by_role("button", name="Delete").click()
    page.get_by_role("button", name="Keep").click()
    assert len(idle.store.list(None).jobs) == 1
    page.locator("dialog.viewer").get_by_role("button", name="Delete").click()
    page.locator("dialog.question").get_by_role("button", name="Delete").click()
    expect(page.locator(".card")).to_have_count(0)
    eventually(lambda: idle.store.list(None).jobs == (), timeout_s=10)


def test_faults_stand_at_their_fields(idle: OnlineFarm, visit: Visit) -> None:
    page = visit(idle)
    submit(page, "")
    expect(page.get_by_text("Say what the clip should show.")).to_be_visible()
    page.get_by_text("Advanced settings").click()
    page.get_by_label("Steps").fill("100000")
    submit(page, "a red circle")
    fault = page.locator(".fault:visible").filter(has_text=re.compile("100000"))
    expect(fault).to_have_count(1)
    assert idle.store.open_ids() == set()


def test_by_keyboard_alone(idle: OnlineFarm, visit: Visit) -> None:
    page = visit(idle)
    expect(page.get_by_text("Advanced settings")).to_be_visible()
    page.keyboard.press("n")
    expect(page.get_by_label("Prompt", exact=True)).to_be_focused()
    page.keyboard.type("made by keys")
    page.keyboard.press("Control+Enter")
    expect(card(page, "made by keys")).to_be_visible()
    with idle.finishing():
        expect(card(page, "made by keys")).to_have_attribute("data-status", "completed")
    card(page, "made by keys").get_by_role("link", name="made by keys").focus()
    page.keyboard.press("Enter")
    expect(page.locator("dialog.viewer[open]")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("dialog.viewer[open]")).to_have_count(0)
    page.keyboard.press("?")
    expect(page.get_by_role("heading", name="Keyboard")).to_be_visible()
    page.keyboard.press("Escape")
    page.keyboard.press("g")
    page.keyboard.press("q")
    expect(page.get_by_role("heading", name="Queue")).to_be_visible()


def test_what_strangers_write_is_text(idle: OnlineFarm, visit: Visit) -> None:
    hostile = '<img src=x onerror="document.title=1"><script>document.title=2</script>${7*7}"\'>'
    page = visit(idle)
    submit(page, hostile)
    expect(page.locator(".card").get_by_text(hostile, exact=True)).to_be_visible()
    (job_id,) = idle.store.open_ids()
    idle.fail(job_id, JobFault(code="<b>", message=hostile, advice=hostile))
    expect(page.locator(".card[data-status=failed]")).to_be_visible()
    page.locator(".card a.open").click()
    expect(page.locator("dialog.viewer h2")).to_have_text(hostile)
    assert page.title() == "wanfarm"
    assert page.locator("img[src=x]").count() == 0


def test_signing_in_and_out(tmp_path: Path, visit: Visit) -> None:
    settings = Settings(engine="farm.workers.fake:FakeBackend", cache_dir=tmp_path / "cache")
    with OnlineFarm.start(tmp_path / "out", settings=settings, api=ApiSettings()) as farm:
        page = visit(farm)
        page.get_by_label("API key").fill("wf_wrong")
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_text("No such key")).to_be_visible()
        page.get_by_label("API key").fill(farm.key("ann", scopes=("submit", "read")))
        page.get_by_role("button", name="Sign in").click()
        submit(page, "a clip of ann's")
        expect(card(page, "a clip of ann's")).to_be_visible()
        with farm.finishing():
            expect(card(page, "a clip of ann's")).to_have_attribute("data-status", "completed")
        open_clip(page, "a clip of ann's")
        is_there = "document.querySelector('dialog.viewer video')?.readyState >= 2"  # by the cookie
        eventually(lambda: page.evaluate(is_there), timeout_s=15)
        page.keyboard.press("Escape")
        assert page.evaluate("document.cookie") == ""
        page.get_by_role("button", name="Sign out").click()
        expect(page.get_by_label("API key")).to_be_visible()
        expect(page.locator(".card")).to_have_count(0)


def test_pausing_is_for_admins(idle: OnlineFarm, visit: Visit) -> None:
    page = visit(idle, path="/#/queue")
    page.get_by_role("button", name="Pause rendering").click()
    expect(page.get_by_text(re.compile("Paused by"))).to_be_visible()
    eventually(lambda: idle.dispatcher.pause is not None, timeout_s=5)
    page.get_by_role("button", name="Resume rendering").click()
    expect(page.get_by_role("button", name="Pause rendering")).to_be_visible()


def test_a_rare_clip_is_found_far_back(idle: OnlineFarm, visit: Visit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("farm.queue.reading.MAX_LOOKED_AT", 24)  # a page of the gallery, instead of many
    with idle.client() as client:
        ids = [client.post("/v1/videos", json={"prompt": f"number {number}"}).json()["id"] for number in range(26)]
    idle.fail(ids[0], JobFault(code="not_finite", message="the render gave NaN", advice="try another seed"))
    for job_id in ids[1:]:
        idle.finish(job_id)
    page = visit(idle)
    page.locator(".filters").get_by_role("button", name="Failed").click()
    page.get_by_role("button", name="Look further back").click()
    expect(page.locator(".card")).to_have_count(1)


def test_a_search_and_a_filter(idle: OnlineFarm, visit: Visit) -> None:
    page = visit(idle)
    with idle.finishing():
        for prompt in ("an orange cat", "a purple dog"):
            submit(page, prompt)
            expect(card(page, prompt)).to_have_attribute("data-status", "completed")
    page.get_by_label("Search clips").fill("purple")
    expect(page.locator(".card")).to_have_count(1)
    page.get_by_label("Search clips").fill("")
    page.locator(".filters").get_by_role("button", name="Failed").click()
    expect(page.locator(".card")).to_have_count(0)
    page.locator(".filters").get_by_role("button", name="All").click()
    expect(page.locator(".card")).to_have_count(2)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_it_fits_and_can_be_read(idle: OnlineFarm, visit: Visit, width: int, scheme: Any) -> None:
    """No sideways scrolling, and texts stand out from what is behind them as WCAG AA asks (4.5 to 1)."""
    for number in range(3):
        idle.client().post("/v1/videos", json={"prompt": f"clip {number} " + "with a long prompt " * 12})
    page = visit(idle, width=width, height=740, color_scheme=scheme)
    expect(page.locator(".card")).to_have_count(3)
    for address in ("#/clips", "#/queue", "#/runs"):
        page.goto(f"{idle.base_url}/{address}")
        page.wait_for_timeout(300)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.evaluate(FAINT) == []
        assert page.evaluate(FOLDED) == []


def test_every_control_has_a_name(idle: OnlineFarm, visit: Visit) -> None:
    page = visit(idle)
    page.get_by_text("Advanced settings").click()
    nameless = page.evaluate(NAMELESS)
    assert nameless == []


def test_the_theme_is_remembered(idle: OnlineFarm, visit: Visit) -> None:
    page = visit(idle, color_scheme="light")
    ground = "getComputedStyle(document.body).backgroundColor"
    before = page.evaluate(ground)
    page.keyboard.press("t")
    eventually(lambda: page.evaluate(ground) != before, timeout_s=5)
    after = page.evaluate(ground)
    page.reload()
    expect(page.get_by_text("Advanced settings")).to_be_visible()
    assert page.evaluate(ground) == after


# Run in the page.
FOLDED = """() => {
    const buttons = [...document.querySelectorAll("button")];
    return buttons.filter((one) => one.offsetHeight > 60).map((one) => one.outerHTML);
}"""
NAMELESS = """() => {
    const controls = [...document.querySelectorAll("button, a[href], input, select, textarea")];
    const nameOf = (one) => one.getAttribute("aria-label") || one.textContent.trim() || one.title || one.labels?.length;
    const nameless = controls.filter((one) => one.offsetParent !== null && !nameOf(one));
    return nameless.map((one) => one.outerHTML.slice(0, 120));
}"""
FAINT = """() => {
    const parse = (text) => (text.match(/[\\d.]+/g) ?? []).map(Number);
    const light = ([r, g, b]) => {
        const [x, y, z] = [r, g, b].map((v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
        return 0.2126 * x + 0.7152 * y + 0.0722 * z;
    };
    const ground = (element) => {
        for (let at = element; at; at = at.parentElement) {
            const colour = parse(getComputedStyle(at).backgroundColor);
            if (colour.length === 3 || colour[3] === 1) return colour;
            if (getComputedStyle(at).backgroundImage !== "none" || (colour[3] ?? 0) > 0) return null;
        }
        return [255, 255, 255];
    };
    const faint = [];
    for (const element of document.querySelectorAll("body *")) {
        const owns = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
        const style = getComputedStyle(element);
        const isApart = element.closest(".unseen, .skip, svg, :disabled, [hidden]");
        if (!owns || element.offsetParent === null || isApart) continue;
        const behind = ground(element), colour = parse(style.color);
        if (behind === null || (colour[3] ?? 1) < 1 || style.opacity !== "1") continue;
        const [high, low] = [light(colour), light(behind)].sort((one, other) => other - one);
        const ratio = (high + 0.05) / (low + 0.05);
        const what = `${element.tagName} ${element.className} ${element.textContent.slice(0, 40)}`;
        if (ratio < 4.5) faint.push(`${ratio.toFixed(2)} ${what}`);
    }
    return faint;
}"""
