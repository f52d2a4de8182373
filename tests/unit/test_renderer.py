"""The renderer with its fake engine: what becomes of a clip, whatever happens to it."""

from __future__ import annotations

import hashlib
import os
import signal
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from farm import ledger
from farm.errors import AlreadyExistsError, NotFoundError, StorageError
from farm.layout import record_path
from farm.media import probe_video, read_frames
from farm.metrics import CLIPS, EMBEDDING_CACHE, NoMeter, Series
from farm.provenance import Worker
from farm.settings import Settings
from farm.spec import AssetRef, ClipSpec
from farm.storage import LocalStorage, MemoryStorage, Storage
from farm.workers.encoder import PromptEncoder
from farm.workers.engine import ClipText, ModelPlan, Order, Unwatched
from farm.workers.fake import FakeBackend, FakeTextEngine
from farm.workers.making import ClipJob
from farm.workers.renderer import MAX_ATTEMPTS, Renderer
from farm.workers.workbench import Workbench, bench_root, clear_bench

PLAN = ModelPlan(name="fake", path="/fake", fingerprint="f" * 64, dtype="float32", device="cpu", threads=1)


class CountingMeter:
    def __init__(self) -> None:
        self.seen: list[tuple[str, tuple[str, ...]]] = []

    def record(self, series: Series, value: float = 1.0, **labels: str) -> None:
        assert set(labels) == set(series.labels)
        self.seen.append((series.name, tuple(labels.values())))

    def begin(self, series: Series, **labels: str) -> None:
        assert set(labels) == set(series.labels)
        assert series.kind == "counter"


def spec_of(prompt: str = "a red circle", **more: Any) -> ClipSpec:
    values: dict[str, Any] = {
        "prompt": prompt, "negative_prompt": "", "seed": 1, "width": 32, "height": 32, "render_width": 32,
        "render_height": 32, "num_frames": 5, "fps": 8, "num_inference_steps": 2, "guidance_high": 5.0,
        "guidance_low": 5.0, "shift": 3.0, "solver": "euler", "profile": "official", "model": "f" * 64,
        "dtype": "float32", "codec": "h264",
    }  # fmt: skip
    return ClipSpec(**(values | more))


def job_of(spec: ClipSpec) -> ClipJob:
    text = ClipText(positive=spec.prompt.encode(), negative=b"")
    return ClipJob(spec=spec, text=text, run_id="run", model_name="fake", model_path="/fake", row=3, id="mine")


@pytest.fixture
def out() -> Storage:
    return MemoryStorage(uuid.uuid4().hex)


def renderer_of(out: Storage, folder: Path, *, meter: Any = None, should_stop: Callable[[], bool] = bool) -> Renderer:
    return Renderer(
        lambda: FakeBackend().open_render(PLAN),
        out,
        settings=Settings(),
        worker=Worker(host="here", pid=1),
        bench=Workbench(folder / "bench"),
        meter=meter or NoMeter(),
        should_stop=should_stop,
    )


def test_a_clip_is_made_once(out: Storage, tmp_path: Path) -> None:
    meter, job = CountingMeter(), job_of(spec_of())
    renderer = renderer_of(out, tmp_path, meter=meter)
    assert renderer.render(job).status == "committed"
    record = ledger.read_record(out, job.spec.clip_id)
    assert record is not None
    video = out.read(record.video.path)
    assert hashlib.sha256(video).hexdigest() == record.video.sha256
    assert probe_video(video).num_frames == 5
    assert record.attempts == 1
    assert renderer.render(job).status == "existing"
    assert [labels for name, labels in meter.seen if name == CLIPS.name] == [
        ("committed", "fake"),
        ("existing", "fake"),
    ]
    assert not [path for path in (tmp_path / "bench").rglob("*") if path.is_file()]


def test_a_named_size_is_cut_out_of_the_middle(out: Storage, tmp_path: Path) -> None:
    cut = spec_of(codec="lossless", height=24)
    renderer_of(out, tmp_path).render(job_of(cut))
    record = ledger.read_record(out, cut.clip_id)
    assert record is not None
    frames = np.stack(list(read_frames(out.read(record.video.path))))
    engine = FakeBackend().open_render(PLAN)
    made = np.concatenate(list(engine.render(Order(spec=cut, text=job_of(cut).text), Unwatched())))
    assert made.shape == (5, 32, 32, 3)
    assert np.array_equal(frames, made[:, 4:28])


def test_a_stopping_driver_begins_no_clip(out: Storage, tmp_path: Path) -> None:
    job = job_of(spec_of())
    assert renderer_of(out, tmp_path, should_stop=lambda: True).render(job).status == "skipped"
    assert ledger.committed_ids(out) == set()


@pytest.mark.parametrize(("prompt", "error_class"), [("fake:input", "InputError"), ("fake:nan", "NotFiniteError")])
def test_a_fault_of_the_clip_is_a_dead_letter(out: Storage, tmp_path: Path, prompt: str, error_class: str) -> None:
    job = job_of(spec_of(prompt))
    outcome = renderer_of(out, tmp_path).render(job)
    assert (outcome.status, outcome.error_class) == ("failed", error_class)
    letter = ledger.read_failure(out, job.spec.clip_id)
    assert letter is not None
    assert letter.error_class == error_class
    assert letter.row["id"] == "mine"
    assert ClipSpec.from_json(letter.row["spec"]) == job.spec
    assert f"--clip {job.spec.clip_id} --here" in letter.command


def test_a_bug_is_tried_again_then_given_up(out: Storage, tmp_path: Path) -> None:
    job = job_of(spec_of("fake:bug"))
    assert renderer_of(out, tmp_path).render(job).error_class == "ZeroDivisionError"
    assert ledger.count_attempts(out, job.spec.clip_id) == MAX_ATTEMPTS


def test_a_clip_that_kills_its_process_is_given_up(out: Storage, tmp_path: Path) -> None:
    job, deaths = job_of(spec_of("fake:die")), 0
    while True:
        child = os.fork()
        if child == 0:
            renderer_of(LocalStorage(tmp_path / "out"), tmp_path).render(job)
            os._exit(0)
        if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0:
            break
        deaths += 1
        assert deaths <= MAX_ATTEMPTS
    letter = ledger.read_failure(LocalStorage(tmp_path / "out"), job.spec.clip_id)
    assert letter is not None
    assert (letter.error_class, letter.attempts, deaths) == ("LeaderLostError", MAX_ATTEMPTS, MAX_ATTEMPTS)


def test_a_fault_of_the_storage_is_raised(out: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: str, local: Path) -> None:
        raise StorageError("put", path, "no space left")

    monkeypatch.setattr(out, "put_file", full)
    with pytest.raises(StorageError, match="no space left"):
        renderer_of(out, tmp_path).render(job_of(spec_of()))
    assert ledger.failed_ids(out) == set()


def test_an_input_must_be_what_was_asked_for(out: Storage, tmp_path: Path) -> None:
    picture = tmp_path / "first.png"
    picture.write_bytes(b"pixels")
    asset = AssetRef(uri=str(picture), sha256=hashlib.sha256(b"pixels").hexdigest())
    assert renderer_of(out, tmp_path).render(job_of(spec_of(image=asset))).status == "committed"
    picture.write_bytes(b"others")
    outcome = renderer_of(out, tmp_path).render(job_of(spec_of(image=asset, seed=2)))
    assert outcome.error_class == "InputError"
    assert outcome.message is not None
    assert "has changed" in outcome.message


def test_losing_a_race_is_no_failure(out: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job, create = job_of(spec_of()), out.create
    other = MemoryStorage(uuid.uuid4().hex)
    renderer_of(other, tmp_path).render(job)
    theirs = other.read(record_path(job.spec.clip_id)).replace(b'"here"', b'"there"')

    def late(path: str, data: bytes) -> None:
        if path == record_path(job.spec.clip_id):
            out.replace(path, theirs)
            raise AlreadyExistsError("create", path)
        create(path, data)

    monkeypatch.setattr(out, "create", late)
    assert renderer_of(out, tmp_path).render(job).status == "lost"


@pytest.fixture
def effects(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Makes this process kill itself at the n-th thing that it writes for good."""
    real, left = os.fsync, [0]

    def dying(descriptor: int) -> None:
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        real(descriptor)

    def arm(number: int) -> None:
        left[0] = number
        monkeypatch.setattr(os, "fsync", dying)

    return arm


def test_killed_at_any_point_of_a_publication(tmp_path: Path, effects: Callable[[int], None]) -> None:
    job, num_deaths = job_of(spec_of()), 0
    for number in range(1, 40):
        out = LocalStorage(tmp_path / f"out-{number}")
        child = os.fork()
        if child == 0:
            effects(number)
            renderer_of(out, tmp_path / f"bench-{number}").render(job)
            os._exit(0)
        is_dead = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
        assert_nothing_torn(out)
        assert renderer_of(out, tmp_path / "again").render(job).status in ("committed", "existing")
        assert len([name for name in out.names("clips") if name.endswith(".mp4")]) == 1
        if not is_dead:
            break
        num_deaths += 1
    assert num_deaths >= 8  # video, two pictures and record, each a file and its folder


def assert_nothing_torn(out: Storage) -> None:
    """Whatever bears a final name is whole."""
    for name in out.names("clips"):
        data = out.read(name)
        if name.endswith(".json"):
            ledger.read_record(out, Path(name).stem)
        else:
            assert hashlib.sha256(data).hexdigest().startswith(Path(name).stem.split("-")[1])
    for name in out.names("thumbs"):
        assert out.read(name)[:4] == b"RIFF"


def test_prompts_are_encoded_once(out: Storage) -> None:
    meter, asked = CountingMeter(), list[str]()

    class Counting(FakeTextEngine):
        def encode(self, prompts: Any) -> list[bytes]:
            asked.extend(prompts)
            return super().encode(prompts)

    def encoder() -> PromptEncoder:
        return PromptEncoder(Counting, out, clean=str.strip, key="weights", meter=meter)

    first = encoder()
    assert [first.encode(prompt) for prompt in ("cat", " cat", "dog", "cat ")] == [b"cat", b"cat", b"dog", b"cat"]
    assert encoder().encode("cat") == b"cat"
    assert asked == ["cat", "dog"]
    results = [labels[0] for name, labels in meter.seen if name == EMBEDDING_CACHE.name]
    assert results == ["encoded", "memory", "encoded", "memory", "storage"]


def test_states_of_other_weights_are_others(out: Storage) -> None:
    for key in ("one", "two"):
        PromptEncoder(FakeTextEngine, out, clean=str.strip, key=key, meter=NoMeter()).encode("cat")
    assert len(list(out.names("embeddings"))) == 2
    with pytest.raises(NotFoundError):
        out.read("embeddings/none")


def test_memory_of_states_is_bounded(out: Storage) -> None:
    encoder = PromptEncoder(FakeTextEngine, out, clean=str.strip, key="k", meter=NoMeter(), memory_bytes=10)
    for prompt in ("a" * 8, "b" * 8, "a" * 8):
        assert encoder.encode(prompt) == prompt.encode()
    assert len(encoder._states) == 1


def test_a_bench_clears_what_earlier_drivers_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    first = Workbench(bench_root("/out", "run", epoch=1))
    other = Workbench(bench_root("/elsewhere", "run", epoch=1))
    Workbench(bench_root("/out", "run", epoch=2))
    assert not first.folder.exists()
    assert other.folder.exists()
    clear_bench("/elsewhere", "run", epoch=1)
    assert not other.folder.exists()
