"""`wanfarm verify`: every committed video against its record; some rendered again and compared."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np

from farm.errors import NotFoundError, UsageError
from farm.files import Files
from farm.layout import record_path
from farm.ledger import read_records
from farm.ledger.parallel import map_in_order
from farm.media import read_frames
from farm.provenance import Record
from farm.run_facts import read_cards
from farm.settings import Settings
from farm.spec import ClipSpec
from farm.storage import Storage
from farm.workers.engine import Order
from farm.workers.making import Clock, fetch_input, make_clip
from jobs.here import Bench
from jobs.opening import existing_output
from jobs.printing import counted, say, say_json

# Across executions the pixels of a clip may differ by rounding, and what the video encoder makes of it.
MIN_PSNR_DB = 35.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Rerendered:
    """A clip made again. `psnr_db` is None where the bytes are equal, as they must be on the same execution."""

    clip_id: str
    is_same_execution: bool
    is_same_bytes: bool
    psnr_db: float | None
    fault: str | None


def verify_output(out_uri: str, *, num_rerender: int, as_json: bool) -> int:
    """0 where all is as recorded, 1 where something is not. UsageError where nothing was ever rendered."""
    if num_rerender < 0:
        raise UsageError(f"--rerender takes a number of clips, not {num_rerender}")
    settings = Settings.from_env()
    out = existing_output(out_uri, settings)
    num_clips, faults, chosen = _check_videos(out, num_chosen=num_rerender)
    again = [_rerender(out, record, settings) for record in chosen]
    wrong = faults + [f"clip {clip.clip_id}: {clip.fault}" for clip in again if clip.fault]
    if as_json:
        say_json({"clips": num_clips, "faults": wrong, "rerendered": [asdict(clip) for clip in again]})
    else:
        say([*(_shown(clip) for clip in again), *wrong])
        say([f"{counted(num_clips, 'clip')} checked, {len(again)} rendered again, {counted(len(wrong), 'fault')}"])
    return 1 if wrong else 0


def _check_videos(out: Storage, *, num_chosen: int) -> tuple[int, list[str], list[Record]]:
    """Clips, what is wrong with their files, and those to render again: the first by id, which is by hash."""
    chosen: list[dict[str, Any]] = []

    def records() -> Iterator[dict[str, Any]]:
        for record in read_records(out):
            chosen.append(record)
            chosen.sort(key=lambda one: str(one["clip_id"]))
            del chosen[num_chosen:]
            yield record

    num_clips, faults = 0, []
    for found in map_in_order(lambda record: _fault_of(out, record), records()):
        num_clips += 1
        faults += [found] if found else []
    return num_clips, faults, [Record.model_validate(record) for record in chosen]


def _fault_of(out: Storage, record: dict[str, Any]) -> str | None:
    video = record["video"]
    try:
        data = out.read(video["path"])
    except NotFoundError:
        if not out.exists(record_path(record["clip_id"])):  # deleted since it was listed
            return None
        return f"clip {record['clip_id']}: {video['path']} is missing"
    if hashlib.sha256(data).hexdigest() != video["sha256"]:
        return f"clip {record['clip_id']}: {video['path']} is not what its record says (sha256)"
    missing = [path for path in (record["thumbnail"], record["strip"]) if not out.exists(path)]
    return f"clip {record['clip_id']}: {', '.join(missing)} missing" if missing else None


def _rerender(out: Storage, record: Record, settings: Settings) -> Rerendered:
    """As its record says, where this machine has as many devices; otherwise with one."""
    spec, execution = ClipSpec.model_validate(record.spec), record.execution
    bench = Bench(
        out, settings, spec=spec, model_path=_model_path(out, record), threads=execution.threads, like=execution
    )
    image = None
    if spec.image is not None:
        image = fetch_input(spec.image, Files(settings), max_bytes=settings.max_input_bytes)
    job = bench.job(spec, run_id="")
    with tempfile.TemporaryDirectory(prefix="wanfarm-verify-") as folder, closing(bench.open_engine()) as engine:
        path = Path(folder) / "again.mp4"
        is_tame = execution != engine.execution(spec) and execution == engine.execution(spec, is_tame=True)
        order = Order(spec=spec, text=job.states, image=image, is_tame=is_tame)
        made = make_clip(job, engine, order, path=path, clock=Clock())
        is_same_execution = execution == engine.execution(spec, is_tame=is_tame)
        if made.video.sha256 == record.video.sha256:
            return _compared(record, is_same_execution=is_same_execution, psnr_db=None)
        psnr_db = _psnr_db(out.read(record.video.path), path)
    return _compared(record, is_same_execution=is_same_execution, psnr_db=psnr_db)


def _compared(record: Record, *, is_same_execution: bool, psnr_db: float | None) -> Rerendered:
    fault = None
    if psnr_db is not None and is_same_execution:
        fault = f"rendered again on the same execution, its bytes differ (PSNR {psnr_db:.1f} dB)"
    elif psnr_db is not None and psnr_db < MIN_PSNR_DB:
        fault = f"rendered again, its PSNR is {psnr_db:.1f} dB, below {MIN_PSNR_DB:.0f} dB"
    return Rerendered(
        clip_id=record.clip_id,
        is_same_execution=is_same_execution,
        is_same_bytes=psnr_db is None,
        psnr_db=psnr_db,
        fault=fault,
    )


def _model_path(out: Storage, record: Record) -> str:
    """Where the weights of a record are: as the output's runs know them, else by the model's name."""
    for card in read_cards(out):
        if card.model_fingerprint == record.spec["model"]:
            return card.model_path
    return record.model_name


def _psnr_db(recorded: bytes, again: Path) -> float:
    """Of all pixels of two videos; -inf where they differ in size or length."""
    squares, num_values = 0.0, 0
    for one, other in zip_longest(read_frames(recorded), read_frames(again)):
        if one is None or other is None or one.shape != other.shape:
            return float("-inf")
        squares += float(np.square(one.astype(np.float32) - other.astype(np.float32)).sum())
        num_values += one.size
    mean = squares / num_values if num_values else 0.0
    return float("inf") if mean == 0 else 10 * float(np.log10(255**2 / mean))


def _shown(clip: Rerendered) -> str:
    where = "the same execution" if clip.is_same_execution else "another execution"
    what = "equal bytes" if clip.is_same_bytes else f"PSNR {clip.psnr_db:.1f} dB"
    return f"clip {clip.clip_id}: rendered again on {where}: {what}"
