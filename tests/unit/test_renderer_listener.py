"""What a renderer's listener hears of clips, and that it cannot harm them."""

from __future__ import annotations

import logging
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from example_renders import NUM_STEPS, job_of, record_of, renderer_of, undisturbed
from scripted_engine import ScriptedEngine

from farm.errors import RankLostError
from farm.storage import MemoryStorage, Storage
from farm.workers.making import ClipJob


@dataclass(kw_only=True)
class Ear:
    """Remembers; raises at what is named by `breaks_at`, each time."""

    breaks_at: str | None = None
    heard: list[tuple[Any, ...]] = field(default_factory=list)

    def began(self, job: ClipJob, step: int) -> None:
        self._hear("began", step)

    def stepped(self, job: ClipJob, done: int, total: int) -> None:
        assert job.id == "mine"
        self._hear("stepped", done, total)

    def previewed(self, job: ClipJob, step: int, image: bytes) -> None:
        self._hear("previewed", step)

    def _hear(self, *what: Any) -> None:
        self.heard.append(what)
        if what[0] == self.breaks_at:
            raise ConnectionError("the queue is away")


@pytest.fixture
def out() -> Storage:
    return MemoryStorage(uuid.uuid4().hex)


def steps(first: int, last: int) -> list[tuple[str, int, int]]:
    return [("stepped", done, NUM_STEPS) for done in range(first, last + 1)]


def test_it_hears_of_every_step_and_every_try(out: Storage, tmp_path: Path) -> None:
    ear, engine = Ear(), ScriptedEngine({6: RankLostError("rank 1 was killed")})
    assert renderer_of(out, tmp_path, engine, listener=ear).render(job_of()).status == "committed"
    assert ear.heard == [("began", 0), *steps(1, 5), ("began", 4), *steps(5, NUM_STEPS)]
    assert [order.preview_every_s for order in engine.orders] == [None, None]


@pytest.mark.parametrize("at", ["began", "stepped"])
def test_one_that_raises_harms_no_clip_and_is_silenced(
    out: Storage, tmp_path: Path, at: str, caplog: pytest.LogCaptureFixture
) -> None:
    ear = Ear(breaks_at=at)
    with caplog.at_level(logging.ERROR):
        assert renderer_of(out, tmp_path, ScriptedEngine(), listener=ear).render(job_of()).status == "committed"
    assert record_of(out).video == undisturbed(tmp_path).video
    assert [what[0] for what in ear.heard] == ["began", "stepped"][: 1 if at == "began" else 2]
    assert len([entry for entry in caplog.records if "hears no more" in entry.message]) == 1
