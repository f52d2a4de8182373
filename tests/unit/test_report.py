"""The report's page: it shows all faults, keeps what strangers wrote as text, and asks for nothing from elsewhere."""

from __future__ import annotations

import html.parser
import json
import re

import pytest
from example_run import HOSTILE, RUN, report_of

from farm.report import page
from farm.storage import LocalStorage


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


def test_what_strangers_wrote_stays_text(local_run: LocalStorage) -> None:
    text = report_of(local_run)
    tags = Tags(text)
    assert [tag for tag, _ in tags.found].count("script") == 2
    assert "img" not in [tag for tag, _ in tags.found]
    assert "<b>" not in text
    cards = json.loads(tags.scripts[0])
    assert cards[0]["prompt"] == HOSTILE
    assert cards[4]["error"] == "NaN in the latents at step 7 </script>"
    assert "prompts &amp; &lt;more&gt;.parquet" in text


def test_page_asks_for_nothing_but_what_lies_beside_it(local_run: LocalStorage) -> None:
    text = report_of(local_run)
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
    text = report_of(local_run)
    cards = json.loads(Tags(text).scripts[0])
    assert [card["status"] for card in cards] == ["committed", "failed", "rejected"]
    assert "Shown are 3 of 7 rows" in text
