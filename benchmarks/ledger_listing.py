"""How long the ledger needs to say what is committed.

    python benchmarks/ledger_listing.py [--clips 50000] [--folder DIR]

Makes clips of one-byte videos and real records in a local folder (kept, and reused, if `--folder` is given).
"""

from __future__ import annotations

import argparse
import hashlib
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from farm import ledger
from farm.layout import record_path
from farm.provenance import AI_STATEMENT, Execution, Record, Video, Worker
from farm.storage import LocalStorage

Result = TypeVar("Result")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=50_000)
    parser.add_argument("--folder", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        ids = fill(folder, arguments.clips)
        storage = LocalStorage(folder)
        timed("committed_ids, all", lambda: len(ledger.committed_ids(storage)))
        timed("committed_ids, half of them asked for", lambda: len(ledger.committed_ids(storage, among=ids[::2])))
        timed("committed_ids, 24 asked for", lambda: len(ledger.committed_ids(storage, among=ids[:24])))
        timed("compact", lambda: ledger.compact(storage, min_new=1))
        timed("read_records, from the index", lambda: sum(1 for _ in ledger.read_records(storage)))
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")


def timed(what: str, call: Callable[[], Result]) -> None:
    begun = time.perf_counter()
    result = call()
    print(f"{what:40} {time.perf_counter() - begun:8.3f} s   {result}")


def fill(folder: Path, num_clips: int) -> list[str]:
    """Write records without fsync: 50,000 durable ones would measure the disk."""
    ids = [hashlib.sha256(str(number).encode()).hexdigest()[:32] for number in range(num_clips)]
    for clip_id in ids:
        path = folder / record_path(clip_id)
        if path.exists():
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_name(f"{clip_id}-01234567.mp4").write_bytes(b"v")
        path.write_bytes(example_record(clip_id).to_json())
    return ids


def example_record(clip_id: str) -> Record:
    spec = {"prompt": f"a red ball that rolls to the left, number {clip_id}", "seed": 1, "width": 832, "height": 480}
    return Record(
        clip_id=clip_id,
        spec=spec,
        model_name="nano",
        video=Video(
            path="x", sha256=clip_id * 2, size_bytes=1, codec="h264", width=832, height=480, num_frames=81, fps=16
        ),
        thumbnail="x",
        strip="x",
        execution=Execution(device="cpu", threads=1, attention="sdpa", libraries={"torch": "2.13"}, encoder={}),
        worker=Worker(host="host", pid=1),
        committed_at="2026-01-01T00:00:00Z",
        timings={"denoise": 1.0, "decode": 1.0, "encode": 1.0},
        device_seconds=3.0,
        attempts=1,
        ai_generated=AI_STATEMENT,
    )


if __name__ == "__main__":
    main()
