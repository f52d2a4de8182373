"""When gangs were at which clips, from what lies in storage: records, dead letters and noted attempts.

Records since stints are kept say it themselves. Of older ones the end is known to the second and each stage's length,
so they are laid out backwards from there. Everything streams: whoever reads a timeline of a million clips holds one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from farm.errors import NotFoundError
from farm.layout import ATTEMPTS, attempts_folder, rows_path
from farm.ledger import Attempt, failed_ids, read_failure, read_records
from farm.ledger.parallel import map_in_order
from farm.provenance import StageTime, Stint
from farm.storage import Storage

# How stages follow each other where nothing says when they began.
_ORDER = ("input", "denoise", "decode", "encode")


@dataclass(frozen=True, slots=True, kw_only=True)
class Gang:
    """A leader's process. `node_id` is None where nobody noted it; `about` is what it rendered on."""

    host: str
    pid: int
    node_id: str | None = None
    about: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """Something that took time, in seconds since the epoch."""

    name: str
    begun_s: float
    ended_s: float
    step: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipTime:
    """A gang's time at a clip, and its stages, one after the other.

    Args:
        is_estimated: the record does not say when it began.
    """

    clip_id: str
    gang: Gang
    begun_s: float
    ended_s: float
    stages: tuple[Interval, ...]
    facts: Mapping[str, Any]
    is_estimated: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident:
    """Something that happened to a clip at a moment; `gang` has no node where only a letter or a note tells of it."""

    clip_id: str
    gang: Gang
    name: str
    at_s: float
    facts: Mapping[str, Any]


def clips_of_run(out: Storage, run_id: str) -> set[str]:
    """The clips that a run is about; none where it was never planned to its end."""
    with suppress(NotFoundError):
        table = pq.read_table(pa.BufferReader(out.read(rows_path(run_id))), columns=["clip_id"])
        return set(table["clip_id"].to_pylist())
    return set()


def clip_times(out: Storage, clip_ids: Collection[str] | None = None) -> Iterator[ClipTime]:
    """All committed clips, or those asked for, in no particular order; one that changed gangs comes twice."""
    for record in read_records(out, clip_ids):
        yield from times_of(record)


def incidents(out: Storage, clip_ids: Collection[str] | None = None) -> Iterator[Incident]:
    """Attempts that failed and clips that were given up."""
    yield from _failed_attempts(out, clip_ids)
    failed = failed_ids(out)
    asked = failed if clip_ids is None else failed.intersection(clip_ids)
    for letter in map_in_order(lambda clip_id: read_failure(out, clip_id), sorted(asked)):
        if letter is not None:
            facts = {"error_class": letter.error_class, "error": letter.message, "attempts": letter.attempts}
            yield Incident(
                clip_id=letter.clip_id,
                gang=_named(letter.worker),
                name="clip failed",
                at_s=_seconds(letter.failed_at),
                facts=facts,
            )


def times_of(record: Mapping[str, Any]) -> Iterator[ClipTime]:
    """Of one record, as it was read."""
    stints = [Stint.model_validate(stint) for stint in record.get("stints") or ()]
    about, facts = _about(record["execution"]), _facts(record)
    if not stints:
        stints = [_estimated(record)]
    for stint in stints:
        begun_s = _seconds(stint.begun_at)
        stages = laid_out(stint.stages, begun_s)
        worker = stint.worker
        yield ClipTime(
            clip_id=record["clip_id"],
            gang=Gang(host=worker.host, pid=worker.pid, node_id=worker.node_id, about=about),
            begun_s=begun_s,
            ended_s=stages[-1].ended_s if stages else begun_s,
            stages=stages,
            facts=facts,
            is_estimated=not record.get("stints"),
        )


def laid_out(stages: Iterable[StageTime], begun_s: float) -> tuple[Interval, ...]:
    """Stages of a stint one after the other, each as long as it was.

    Decoding and encoding took turns; they are shown in a row.
    """
    laid, free_s = list[Interval](), begun_s
    for stage in sorted(stages, key=lambda stage: stage.begun_s):
        since_s = max(free_s, begun_s + stage.begun_s)
        free_s = since_s + stage.seconds
        laid.append(Interval(name=stage.name, begun_s=since_s, ended_s=free_s, step=stage.step))
    return tuple(laid)


def _estimated(record: Mapping[str, Any]) -> Stint:
    """Of a record without stints."""
    timings, at_s, stages = record["timings"], 0.0, list[StageTime]()
    for name in sorted(timings, key=lambda name: _ORDER.index(name) if name in _ORDER else len(_ORDER)):
        stages.append(StageTime(name=name, begun_s=at_s, seconds=timings[name]))
        at_s += timings[name]
    begun_at = datetime.fromtimestamp(_seconds(record["committed_at"]) - at_s, UTC).isoformat()
    return Stint.model_validate({"worker": record["worker"], "begun_at": begun_at, "stages": stages})


def _about(execution: Mapping[str, Any]) -> str:
    shared = f", {execution['parallel']}" if execution.get("parallel") else ""
    return f"{execution.get('degree', 1)} x {execution['device']}{shared}"


def _facts(record: Mapping[str, Any]) -> dict[str, Any]:
    """What is worth knowing of a clip at a look; its prompt is not for everybody who gets a trace."""
    spec, video = record["spec"], record["video"]
    known = {
        "model": record["model_name"],
        "shape": f"{video['width']}x{video['height']}x{video['num_frames']}",
        "steps": spec.get("num_inference_steps"),
        "seconds": record["timings"],
        "device_seconds": record["device_seconds"],
        "cost": record.get("cost"),
        "attempts": record["attempts"],
        "resumed_at": list(record.get("resumed_at") or ()) or None,
        "lost_steps": record.get("lost_steps") or None,
        "committed_at": record["committed_at"],
        "video": video["path"],
    }
    return {name: value for name, value in known.items() if value is not None}


def _failed_attempts(out: Storage, clip_ids: Collection[str] | None) -> Iterator[Incident]:
    for entry in out.list(ATTEMPTS):
        clip_id, number = entry.path.removesuffix(".json").split("/")[-2:]
        if clip_ids is not None and clip_id not in clip_ids:
            continue
        with suppress(NotFoundError, ValidationError):  # tried anew since it was listed, or another release's
            attempt = Attempt.model_validate_json(out.read(f"{attempts_folder(clip_id)}/{number}.json"))
            yield Incident(
                clip_id=clip_id,
                gang=_named(attempt.worker),
                name="attempt failed",
                at_s=entry.mtime_s if attempt.at is None else _seconds(attempt.at),
                facts={"error_class": attempt.error_class, "error": attempt.reason, "attempt": int(number)},
            )


def _named(worker: str) -> Gang:
    """From "host:pid"."""
    host, _, pid = worker.rpartition(":")
    return Gang(host=host or worker, pid=int(pid) if pid.isdigit() else 0)


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
