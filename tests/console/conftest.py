"""The console in headless Chromium, before the real API with renderers at work."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from online_farm import OnlineFarm
from playwright.sync_api import Browser, Page, sync_playwright
from services.endpoint import skip_or_fail

from farm.settings import Settings

FAKE = "farm.workers.fake:FakeBackend"
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--autoplay-policy=no-user-gesture-required"]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        skip_or_fail("chromium", "there is no browser (bash tests/services/install.sh chromium)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, headless=True, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def nano(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OnlineFarm]:
    """nano renders what is asked for."""
    out = tmp_path_factory.mktemp("console-nano")
    with OnlineFarm.start(out) as farm, farm.rendering(preview_every_s=0.05):
        yield farm


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[OnlineFarm]:
    """The fake engine renders, as slowly as prompts say."""
    settings = Settings(engine=FAKE, cache_dir=tmp_path / "cache")
    with OnlineFarm.start(tmp_path / "out", settings=settings) as farm, farm.rendering(preview_every_s=0.05):
        yield farm


@pytest.fixture
def idle(tmp_path: Path) -> Iterator[OnlineFarm]:
    """Nobody renders: a test does it by hand."""
    settings = Settings(engine=FAKE, cache_dir=tmp_path / "cache")
    with OnlineFarm.start(tmp_path / "out", settings=settings) as farm:
        yield farm


Visit = Callable[..., Page]


@pytest.fixture
def visit(browser: Browser) -> Iterator[Visit]:
    """Opens a farm's console. At the end nothing may have gone wrong in the page, and nothing have left the origin."""
    faults: list[str] = []
    with ExitStack() as stack:

        def opened(farm: OnlineFarm, *, path: str = "/", width: int = 1280, height: int = 860, **options: Any) -> Page:
            context = browser.new_context(viewport={"width": width, "height": height}, **options)
            stack.callback(context.close)
            page = context.new_page()
            page.set_default_timeout(15_000)
            page.on("pageerror", lambda error: faults.append(f"page: {error}"))
            page.on("console", lambda said: faults.append(f"console: {said.text}") if is_fault(said) else None)
            page.on("request", lambda asked: faults.append(asked.url) if is_elsewhere(asked.url, farm) else None)
            page.goto(farm.base_url + path)
            return page

        yield opened
    assert faults == []


def is_fault(said: Any) -> bool:
    # A refused request (422, 401 ...) is written there too, by the browser itself.
    return said.type in ("error", "warning") and "the server responded with a status of 4" not in said.text


def is_elsewhere(url: str, farm: OnlineFarm) -> bool:
    return urlsplit(url).netloc != urlsplit(farm.base_url).netloc
