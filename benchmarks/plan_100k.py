"""How long planning a large manifest takes, and how much memory: 100,000 rows, half of them in the ledger already.

    python benchmarks/plan_100k.py [--rows 100000] [--folder DIR]

Makes the manifest and a local ledger of real records, then plans in a process of its own and prints its seconds and
peak resident memory. The limits to hold on 2 cores are 60 s and 1.5 GiB.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from farm.layout import record_path
from farm.models import NANO_CARD, ModelRef
from farm.plan import Plan, plan_run
from farm.provenance import Execution, Worker, build_record
from farm.settings import Settings
from farm.spec import ClipSpec, RenderOptions
from farm.storage import LocalStorage

# No weights are needed to plan, so none have to be there.
MODEL = ModelRef(name="nano", path="nano", card=NANO_CARD, fingerprint="0" * 64)
PROMPT = "a red circle moving right on a black background seen from afar in soft light with long shadows"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        measure(arguments.folder)
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        write_manifest(folder / "manifest.parquet", num_rows=arguments.rows)
        fill_ledger(folder, num_clips=arguments.rows // 2)
        subprocess.run([sys.executable, __file__, "--measure", "--folder", str(folder)], check=True)


def measure(folder: Path) -> None:
    """Plans, and prints one line of JSON."""
    start = time.perf_counter()
    found = plan(folder)
    seconds = time.perf_counter() - start
    peak_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(
        json.dumps(
            {
                "rows": found.num_rows,
                "rejected": found.num_rejected,
                "done": found.num_done,
                "remaining": found.num_remaining,
                "segments": len(found.segments),
                "seconds": round(seconds, 2),
                "peak_rss_mib": round(peak_bytes / 2**20),
            }
        )
    )


def plan(folder: Path) -> Plan:
    """The measured call, publishing included."""
    return plan_run(
        str(folder / "manifest.parquet"),
        model=MODEL,
        options=RenderOptions(),
        settings=Settings(cache_dir=folder / "cache"),
        out=LocalStorage(folder / "out"),
    )


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
    found, out = plan(folder), folder / "out"
    worker, execution = (
        Worker(host="here", pid=1),
        Execution(device="cpu", threads=1, attention="sdpa", libraries={}, encoder={}),
    )
    left = num_clips
    for segment in found.segments:
        for text in pq.read_table(out / segment, columns=["spec"]).column("spec").to_pylist()[:left]:
            record = build_record(
                ClipSpec.from_json(text),
                model_name=MODEL.name,
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
