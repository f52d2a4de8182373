"""How long `wanfarm plan` takes for a large manifest, and how much memory: 100,000 rows, half of them done already.

    python benchmarks/plan_100k.py [--rows 100000] [--folder DIR]

Makes the manifest and a local ledger of real records, then runs the command as a person would and prints its seconds,
start included, and its peak resident memory beside the limits to hold on 2 cores.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sysconfig
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from farm.layout import record_path
from farm.models import resolve_model
from farm.plan import plan_run
from farm.provenance import Execution, Worker, build_record
from farm.settings import Settings
from farm.spec import ClipSpec, RenderOptions
from farm.storage import LocalStorage

COMMAND = Path(sysconfig.get_path("scripts"), "wanfarm")
LIMIT_S, LIMIT_MIB = 60, 1536
PROMPT = "a red circle moving right on a black background seen from afar in soft light with long shadows"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--folder", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        # In a process of its own: on Linux a child's peak memory begins with that of the process that started it.
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            pool.submit(prepare, folder, arguments.rows).result()
        measure(folder)


def measure(folder: Path) -> None:
    """Runs the command and prints what it counted and what it took."""
    command = [COMMAND, "plan", folder / "manifest.parquet", "--out", folder / "out", "--model", "nano", "--json"]
    environment = {**os.environ, "WANFARM_CACHE": str(folder / "cache")}
    start = time.perf_counter()
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as process:
        said = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
    if not said:  # the exit code says nothing here: some rows would be rejected, as is meant
        raise SystemExit(f"wanfarm plan ended with {process.returncode} and said nothing")
    found = json.loads(said)
    print(", ".join(f"{found[name]:,} {name}" for name in ("rows", "rejected", "done", "remaining")))
    print(f"{seconds:.1f} s (limit {LIMIT_S}), {usage.ru_maxrss / 1024:.0f} MiB at most (limit {LIMIT_MIB})")


def prepare(folder: Path, num_rows: int) -> None:
    """The manifest, and records of half its rows."""
    write_manifest(folder / "manifest.parquet", num_rows=num_rows)
    fill_ledger(folder, num_clips=num_rows // 2)


def write_manifest(path: Path, *, num_rows: int) -> None:
    """Rows of some 300 bytes, in a few shapes; one in a hundred has a fault, one in fifty no id."""
    rows = range(num_rows)
    table = pa.table(
        {
            "id": [None if row % 50 == 7 else f"clip-{row:06d}" for row in rows],
            "prompt": [f"{PROMPT[row % 70 :]}, {PROMPT}, take {row // 3}" for row in rows],
            "width": [(64, 80, 96, 100)[3 if row % 100 == 99 else row % 3] for row in rows],
            "num_inference_steps": [(20, 30)[row % 2] for row in rows],
            "guidance_scale": [3.0 + row % 5 for row in rows],
            "tags": pa.array([[("batch", str(row % 10))] for row in rows], pa.map_(pa.string(), pa.string())),
        }
    )
    pq.write_table(table, path)


def fill_ledger(folder: Path, *, num_clips: int) -> None:
    """Records of that many of the manifest's clips, written as files: the ledger's own fsyncs would take minutes."""
    settings, out = Settings(cache_dir=folder / "cache"), folder / "out"
    found = plan_run(
        str(folder / "manifest.parquet"),
        model=resolve_model("nano", settings),
        options=RenderOptions(),
        settings=settings,
        out=LocalStorage(out),
    )
    worker = Worker(host="here", pid=1)
    execution = Execution(device="cpu", threads=1, attention="sdpa", libraries={}, encoder={})
    left = num_clips
    for segment in found.segments:
        for text in pq.read_table(out / segment, columns=["spec"]).column("spec").to_pylist()[:left]:
            record = build_record(
                ClipSpec.from_json(text),
                model_name=found.model.name,
                sha256="0" * 64,
                size_bytes=1,
                execution=execution,
                worker=worker,
                committed_at="2030-01-01T00:00:00Z",
                timings={"denoise": 1.0},
                device_seconds=1.0,
                attempts=1,
            )
            path = out / record_path(record.clip_id)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(record.to_json())
            left -= 1


if __name__ == "__main__":
    main()
