"""A run with rows of every kind, as planner and renderers leave it: what results and report are made from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from example_clips import make_record, make_spec

from farm import ledger
from farm.media import Thumbnailer, VideoWriter
from farm.report import RunFacts, write_report
from farm.results import write_results
from farm.row_files import ADMITTED_SCHEMA, REJECTED_SCHEMA
from farm.spec import ClipSpec
from farm.storage import Storage

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


def make_run(out: Storage, folder: Path) -> None:
    """Rows: committed ones, a repeated one, a failed one, a pending one, a rejected one."""
    specs = [make_spec(prompt=HOSTILE, width=96)]
    specs += [make_spec(prompt=f"a ball, number {seed}", seed=seed) for seed in (1, 2)]
    for spec in specs:
        commit_clip(out, spec, folder)
    failed, pending = make_spec(prompt="a cube that fails"), make_spec(prompt="a cone that waits")
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


def report_of(out: Storage) -> str:
    """The page of the run, as text."""
    totals = write_results(out, RUN)
    return out.read(write_report(out, FACTS, totals=totals)).decode()


def commit_clip(out: Storage, spec: ClipSpec, folder: Path) -> None:
    frames = make_frames(spec.seed, width=spec.width, num_frames=spec.num_frames)
    thumbnailer = Thumbnailer(spec.num_frames)
    thumbnailer.look(frames)
    spool = folder / "spool.mp4"
    with VideoWriter(spool, width=spec.width, height=spec.height, fps=spec.fps, metadata={}) as video:
        video.write(frames)
        video.close()
    record = make_record(
        spec,
        video=spool.read_bytes(),
        host="worker-1",
        timings={"denoise": 1.5, "decode": 0.5},
        cost=0.25,
        currency="USD",
        warnings=("under 20 steps",),
    )
    artifacts = ledger.Artifacts(video=spool, thumbnail=thumbnailer.poster(), strip=thumbnailer.strip())
    assert ledger.commit_clip(out, record, artifacts=artifacts).has_won


def make_frames(seed: int, *, width: int, num_frames: int) -> np.ndarray:
    """A ball that rolls to the right, in colours of its own."""
    rng = np.random.default_rng(seed)
    ground, ball = rng.integers(0, 256, (2, 3), dtype=np.uint8)
    rows, columns = np.mgrid[:64, :width]
    frames = np.broadcast_to(ground, (num_frames, 64, width, 3)).copy()
    for number in range(num_frames):
        at = 12 + number * (width - 24) // num_frames
        frames[number, (rows - 32) ** 2 + (columns - at) ** 2 < 100] = ball
    return frames


def fail_clip(out: Storage, spec: ClipSpec) -> None:
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


def admitted(row: int, spec: ClipSpec) -> dict[str, Any]:
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
    }


def write_plan(out: Storage, rows: list[dict[str, Any]], rejected: list[dict[str, Any]]) -> None:
    """The row files that a planner would have left."""
    for name, lines, schema in (("rows", rows, ADMITTED_SCHEMA), ("rejected", rejected, REJECTED_SCHEMA)):
        sink = pa.BufferOutputStream()
        pq.write_table(pa.Table.from_pylist(lines, schema=schema), sink)
        out.replace(f"runs/{RUN}/{name}.parquet", sink.getvalue().to_pybytes())
