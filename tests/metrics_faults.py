"""Faults of a batch run, each of them what an alert is about."""

from __future__ import annotations

import itertools
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
from e2e_farm import wait_until
from services.ray_head import RayHead

from farm.ledger import Artifacts, commit_clip
from farm.media import Thumbnailer, VideoWriter
from farm.provenance import Execution, Worker, build_record
from farm.spec import ClipSpec
from farm.storage import Storage

RANK = "farm.workers.gang.rank"
LATEST_S = 180.0
# A step of nano takes some 10 ms: each one is to be hit.
RUNS_S, STANDS_S = 0.01, 0.04

# Holds what no gang of ours holds, and waits for what there is not.
STRANGER = """
import sys, time, ray
from ray.util.placement_group import placement_group
ray.init(address=sys.argv[1], log_to_driver=False, logging_level="CRITICAL")
groups = [placement_group([{"CPU": 0.001}]) for _ in range(4)]
ray.get([group.ready() for group in groups])
@ray.remote(num_cpus=1000)
class MapWorker:
    pass
waiting = MapWorker.remote()
print("there", flush=True)
time.sleep(600)
"""


@contextmanager
def slowed(process: psutil.Process) -> Iterator[None]:
    """Four fifths of the time it stands still, in pieces shorter than a step."""
    over = threading.Event()

    def alternate() -> None:
        for number, for_s in itertools.cycle(((signal.SIGSTOP, STANDS_S), (signal.SIGCONT, RUNS_S))):
            with suppress(psutil.NoSuchProcess):
                process.send_signal(number)
            if over.wait(for_s):
                break
        with suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGCONT)

    thread = threading.Thread(target=alternate, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def ranks(head: RayHead, *, count: int) -> list[psutil.Process]:
    """All ranks of a cluster on which so many are at work."""
    found: list[psutil.Process] = []

    def are_there() -> bool:
        found[:] = head.processes(RANK)
        return len(found) == count

    wait_until(are_there, timeout_s=LATEST_S, what=f"{count} ranks")
    return found


@contextmanager
def stranger(head: RayHead) -> Iterator[None]:
    """Another program on the same cluster."""
    process = subprocess.Popen(
        [sys.executable, "-c", STRANGER, head.address], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "there\n"
        yield
    finally:
        process.kill()
        process.communicate(timeout=20)


def put_first(out: Storage, specs: dict[str, ClipSpec], folder: Path) -> None:
    """Commit a clip that somebody else is at just now."""

    def in_work() -> set[str]:
        return {name.rsplit("/", 1)[-1][:32] for name in out.names("state") if name.endswith(".begin")} & set(specs)

    wait_until(lambda: bool(in_work()), timeout_s=LATEST_S, what="a long clip in work")
    commit_by_hand(out, specs[in_work().pop()], folder)


def kill_ranks(out: Storage, specs: dict[str, ClipSpec], head: RayHead) -> None:
    """Each once, when a long clip has come on for a moment since a state of it was kept."""
    before = kept(out)

    def is_anew() -> bool:
        return any(clip_id in specs for clip_id, _ in kept(out) - before)

    wait_until(is_anew, timeout_s=LATEST_S, what="a new kept state of a long clip")
    time.sleep(0.5)
    for process in head.processes(RANK):
        with suppress(psutil.NoSuchProcess):
            process.kill()


def kept(out: Storage) -> set[tuple[str, str]]:
    """All states: clips, and the names of the files."""
    names = {name.rsplit("/", 1)[-1] for name in out.names("state") if name.endswith(".safetensors")}
    return {(name[:32], name) for name in names}


def specs_of(out: Storage, run_id: str, *, steps: int) -> dict[str, ClipSpec]:
    """The run's clips of so many steps, by clip id."""
    texts = itertools.chain.from_iterable(
        pq.read_table(pa.BufferReader(out.read(part)), columns=["spec"])["spec"].to_pylist()
        for part in out.names(f"runs/{run_id}/plan")
    )
    specs = [ClipSpec.from_json(text) for text in texts]
    return {spec.clip_id: spec for spec in specs if spec.num_inference_steps == steps}


def commit_by_hand(out: Storage, spec: ClipSpec, folder: Path) -> None:
    """A grey clip with a record."""
    frames = np.full((spec.num_frames, spec.height, spec.width, 3), 120, np.uint8)
    pictures, path = Thumbnailer(spec.num_frames), folder / "by-hand.mp4"
    with VideoWriter(path, width=spec.width, height=spec.height, fps=spec.fps, codec=spec.codec, metadata={}) as writer:
        pictures.look(frames)
        writer.write(frames)
        video = writer.close()
    record = build_record(
        spec,
        model_name="nano",
        sha256=video.sha256,
        size_bytes=video.size_bytes,
        execution=Execution(device="hand", threads=1, attention="none", libraries={}, encoder={}),
        worker=Worker(host="elsewhere", pid=1),
        committed_at="2026-01-01T00:00:00+00:00",
        timings={},
        device_seconds=1.0,
        attempts=1,
    )
    commit_clip(out, record, artifacts=Artifacts(video=path, thumbnail=pictures.poster(), strip=pictures.strip()))
