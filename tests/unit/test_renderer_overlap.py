"""A clip is published while the next one is rendered, and nothing is lost or swapped by it."""

from __future__ import annotations

import threading
import uuid
from pathlib import Path

import pytest
from example_clips import make_spec
from example_renders import job_of, record_of, renderer_of
from scripted_engine import ScriptedEngine

from farm import ledger
from farm.errors import GangStartError, InputError, StorageError
from farm.storage import MemoryStorage, Storage

SPECS = [make_spec(seed=seed, num_inference_steps=2, width=32, height=32, num_frames=5) for seed in range(4)]
JOBS = [job_of(spec) for spec in SPECS]
WAIT_S = 60.0


@pytest.fixture
def out() -> Storage:
    return MemoryStorage(uuid.uuid4().hex)


def test_outcomes_come_in_order(out: Storage, tmp_path: Path) -> None:
    engine = ScriptedEngine({}, {1: InputError("bad")})
    outcomes = list(renderer_of(out, tmp_path, engine).render_all([*JOBS, JOBS[0]]))
    assert [outcome.clip_id for outcome in outcomes] == [spec.clip_id for spec in (*SPECS, SPECS[0])]
    assert [outcome.status for outcome in outcomes] == ["committed", "failed", "committed", "committed", "existing"]
    for spec in (SPECS[0], *SPECS[2:]):
        record_of(out, spec)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_the_next_clip_is_rendered_while_one_is_published(
    out: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_next_begun, put_file = threading.Event(), out.put_file

    def slow(path: str, local: Path) -> None:
        assert is_next_begun.wait(WAIT_S), "the next clip waits for the upload of this one"
        put_file(path, local)

    monkeypatch.setattr(out, "put_file", slow)
    renderer = renderer_of(out, tmp_path, ScriptedEngine({}, {1: is_next_begun.set}))
    assert [outcome.status for outcome in renderer.render_all(JOBS)] == ["committed"] * len(JOBS)


def test_no_more_than_one_clip_waits_to_be_published(
    out: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spooled, put_file = [], out.put_file

    def count(path: str, local: Path) -> None:
        spooled.append(len(list(local.parent.glob("*.mp4"))))
        put_file(path, local)

    monkeypatch.setattr(out, "put_file", count)
    list(renderer_of(out, tmp_path, ScriptedEngine()).render_all(JOBS))
    assert max(spooled) <= 2  # this one and the next in the making


def test_a_publication_that_fails_is_raised_and_the_next_clip_stands(
    out: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_file = out.put_file

    def full(path: str, local: Path) -> None:
        if SPECS[1].clip_id in path:
            raise StorageError("put", path, "no space left")
        put_file(path, local)

    monkeypatch.setattr(out, "put_file", full)
    seen, outcomes = list[str](), renderer_of(out, tmp_path, ScriptedEngine()).render_all(JOBS)
    with pytest.raises(StorageError, match="no space left"):
        seen.extend(outcome.clip_id for outcome in outcomes)
    assert seen == [SPECS[0].clip_id, SPECS[2].clip_id]
    assert ledger.committed_ids(out) == set(seen)
    monkeypatch.setattr(out, "put_file", put_file)
    engine = ScriptedEngine()
    again = list(renderer_of(out, tmp_path, engine).render_all(JOBS))
    assert [outcome.status for outcome in again] == ["existing", "committed", "existing", "committed"]
    assert engine.begun_at == [2, 0]  # only decoded again
    assert {outcome.lost_steps for outcome in again} == {0}


def test_a_clip_that_cannot_be_made_is_raised_after_the_one_before(out: Storage, tmp_path: Path) -> None:
    outcomes = renderer_of(out, tmp_path, ScriptedEngine({}, {1: GangStartError("no memory")})).render_all(JOBS)
    assert next(outcomes).status == "committed"
    with pytest.raises(GangStartError):
        next(outcomes)


def test_who_stops_listening_leaves_no_half_published_clip(
    out: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    renderer = renderer_of(out, tmp_path, engine := ScriptedEngine())
    outcomes = renderer.render_all(JOBS)
    next(outcomes)
    outcomes.close()
    assert ledger.committed_ids(out) == {spec.clip_id for spec in SPECS[:2]}
    renderer.close()
    assert engine.is_closed
