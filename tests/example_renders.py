"""Clips to render with an engine that breaks by script."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable
from pathlib import Path

from example_clips import make_spec
from scripted_engine import ScriptedEngine

from farm import ledger
from farm.layout import clip_id_of
from farm.metrics import Meter, NoMeter
from farm.provenance import Record, Worker
from farm.settings import Settings
from farm.spec import ClipSpec
from farm.storage import MemoryStorage, Storage
from farm.workers.engine import CheckpointPolicy, ClipText, Handover, RenderEngine
from farm.workers.listening import Listener
from farm.workers.making import ClipJob
from farm.workers.renderer import Renderer
from farm.workers.workbench import Workbench

NUM_STEPS = 10
EVERY_TWO = CheckpointPolicy(every_steps=2)
SPEC = make_spec(num_inference_steps=NUM_STEPS, width=32, height=32, num_frames=5)


def job_of(spec: ClipSpec = SPEC) -> ClipJob:
    text = ClipText(positive=spec.prompt.encode(), negative=b"")
    return ClipJob(spec=spec, text=text, run_id="run", model_name="fake", model_path="/fake", row=3, id="mine")


def renderer_of(
    out: Storage,
    folder: Path,
    engine: RenderEngine,
    *,
    policy: CheckpointPolicy = EVERY_TWO,
    meter: Meter | None = None,
    should_stop: Callable[[], bool] = bool,
    listener: Listener | None = None,
    preview_every_s: float | None = None,
    handover: Handover | None = None,
) -> Renderer:
    """A renderer whose bench lies in the folder."""
    return Renderer(
        lambda: engine,
        out,
        settings=Settings(),
        worker=Worker(host="here", pid=1),
        bench=Workbench(folder / "bench"),
        meter=meter or NoMeter(),
        policy=policy,
        should_stop=should_stop,
        listener=listener,
        preview_every_s=preview_every_s,
        handover=handover,
    )


def record_of(out: Storage, spec: ClipSpec = SPEC) -> Record:
    """The record of a clip that must be committed, whole, and the only one to have begun."""
    record = ledger.read_record(out, spec.clip_id)
    assert record is not None
    assert hashlib.sha256(out.read(record.video.path)).hexdigest() == record.video.sha256
    assert not [name for name in out.names("state") if clip_id_of(name) == spec.clip_id]
    return record


def undisturbed(folder: Path, spec: ClipSpec = SPEC) -> Record:
    """The record of the same clip where nothing went wrong."""
    out = MemoryStorage(uuid.uuid4().hex)
    assert renderer_of(out, folder / "undisturbed", ScriptedEngine()).render(job_of(spec)).status == "committed"
    return record_of(out, spec)
