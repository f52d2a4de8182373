"""A timeline as a file in the Trace Event Format, which Perfetto and chrome://tracing open.

A process is a node, a thread a gang. Each clip is a slice of its gang's row with its stages inside; attempts that
failed, clips that were given up, and steps that were gone on from are instants. Times are microseconds since the first.

Clips come in no order and rows have one: they are spooled to a file, of which only places are held, 24 bytes a clip.
"""

from __future__ import annotations

import json
import tempfile
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import IO, Any, TextIO

from farm.timeline import ClipTime, Gang, Incident, Interval

Event = dict[str, Any]

_US = 1_000_000
# Characters of a clip's id that tell it from others in a row.
_SHORT = 8


@dataclass(slots=True, kw_only=True)
class Drawn:
    """What is in a file. `num_estimated` of the clips are older than records that say when they began."""

    num_clips: int = 0
    num_incidents: int = 0
    num_gangs: int = 0
    num_estimated: int = 0


def write_trace(
    sink: TextIO, clips: Iterable[ClipTime], incidents: Iterable[Incident], *, about: dict[str, str]
) -> Drawn:
    """Write all of it; `about` is what the file says of itself."""
    with tempfile.TemporaryFile() as file:
        spool, rows, drawn = _Spool(file), _Rows(), Drawn()
        for clip in clips:
            spool.put(rows.row_of(clip.gang), clip.begun_s, _packed(clip))
            drawn.num_clips += 1
            drawn.num_estimated += clip.is_estimated
        for incident in incidents:
            spool.put(rows.row_of(incident.gang), incident.at_s, _packed(incident))
            drawn.num_incidents += 1
        drawn.num_gangs = len(rows.gangs)
        began_s = spool.first_s
        began_at = datetime.fromtimestamp(began_s, UTC).isoformat(timespec="milliseconds")
        head = {"displayTimeUnit": "ms", "otherData": {**about, "began_at": began_at}}
        sink.write(json.dumps(head, ensure_ascii=False)[:-1] + ', "traceEvents": [\n')
        separator = ""
        for event in _all_events(spool, rows, began_s):
            sink.write(separator + json.dumps(event, ensure_ascii=False))
            separator = ",\n"
        sink.write("\n]}\n")
    return drawn


@dataclass(slots=True)
class _Rows:
    """Gangs and nodes by the numbers that stand for them in the file."""

    gangs: list[Gang] = field(default_factory=list)
    _rows: dict[tuple[str, int, str | None], int] = field(default_factory=dict)
    _known: dict[tuple[str, int], int] = field(default_factory=dict)

    def row_of(self, gang: Gang) -> int:
        """A gang of which only host and pid are known is the one that was seen with them."""
        seen = self._known.get((gang.host, gang.pid)) if gang.node_id is None else None
        row = self._rows.get((gang.host, gang.pid, gang.node_id)) if seen is None else seen
        if row is None:
            row = len(self.gangs)
            self.gangs.append(gang)
            self._rows[gang.host, gang.pid, gang.node_id] = row
            self._known[gang.host, gang.pid] = row
        return row

    def places(self) -> list[tuple[int, int]]:
        """Process and thread of each row. Threads' numbers are nobody else's: viewers mix up those that are."""
        nodes = dict[tuple[str, str | None], int]()
        return [
            (nodes.setdefault((gang.host, gang.node_id), len(nodes) + 1), row + 1)
            for row, gang in enumerate(self.gangs)
        ]


class _Spool:
    """Lines of a file by row and time."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._rows, self._begun_us, self._offsets = array("q"), array("q"), array("q")

    @property
    def first_s(self) -> float:
        return min(self._begun_us, default=0) / _US

    def put(self, row: int, begun_s: float, value: Event) -> None:
        self._rows.append(row)
        self._begun_us.append(round(begun_s * _US))
        self._offsets.append(self._file.tell())
        self._file.write(json.dumps(value, ensure_ascii=False).encode() + b"\n")

    def in_order(self) -> Iterator[tuple[int, Event]]:
        """By rows, and in each by time."""
        for number in sorted(range(len(self._rows)), key=lambda one: (self._rows[one], self._begun_us[one])):
            self._file.seek(self._offsets[number])
            yield self._rows[number], json.loads(self._file.readline())


def _packed(what: ClipTime | Incident) -> Event:
    return {name: value for name, value in asdict(what).items() if name != "gang"}


def _all_events(spool: _Spool, rows: _Rows, began_s: float) -> Iterator[Event]:
    places = rows.places()
    for gang, (pid, tid) in zip(rows.gangs, places, strict=True):
        node = f"{gang.host} ({gang.node_id[:_SHORT]})" if gang.node_id else gang.host
        name = f"gang {gang.pid}" + (f": {gang.about}" if gang.about else "")
        for kind, value in (("process_name", node), ("thread_name", name)):
            yield {"ph": "M", "name": kind, "pid": pid, "tid": tid, "ts": 0, "args": {"name": value}}
    row_before, free_us = -1, 0
    for row, entry in spool.in_order():
        free_us = free_us if row == row_before else 0
        row_before = row
        place = {"pid": places[row][0], "tid": places[row][1]}
        if "at_s" in entry:
            at_us = round((entry["at_s"] - began_s) * _US)
            yield _instant(entry["name"], at_us, place, {"clip_id": entry["clip_id"], **entry["facts"]})
            continue
        begun_us = max(free_us, round((entry["begun_s"] - began_s) * _US))
        free_us = max(begun_us, round((entry["ended_s"] - began_s) * _US))
        yield from _clip_events(entry, begun_us, free_us, place, began_s)


def _clip_events(entry: Event, begun_us: int, ended_us: int, place: Event, began_s: float) -> Iterator[Event]:
    """A clip's slice, its stages within it, and where it went on. An estimate gives way to the clip before it."""
    clip_id, args = entry["clip_id"], {"clip_id": entry["clip_id"], **entry["facts"]}
    if entry["is_estimated"]:
        args["is_estimated"] = True
    yield _slice(f"clip {clip_id[:_SHORT]}", "clip", begun_us, ended_us, place, args)
    for stage in (Interval(**stage) for stage in entry["stages"]):
        since_us = min(ended_us, max(begun_us, round((stage.begun_s - began_s) * _US)))
        until_us = min(ended_us, max(since_us, round((stage.ended_s - began_s) * _US)))
        if stage.step is not None:
            yield _instant("clip resumed", since_us, place, {"clip_id": clip_id, "step": stage.step})
        yield _slice(stage.name, "stage", since_us, until_us, place, {"clip_id": clip_id})


def _slice(name: str, kind: str, begun_us: int, ended_us: int, place: Event, args: Event) -> Event:
    return {"ph": "X", "name": name, "cat": kind, "ts": begun_us, "dur": ended_us - begun_us, **place, "args": args}


def _instant(name: str, at_us: int, place: Event, args: Event) -> Event:
    return {"ph": "i", "s": "t", "name": name, "cat": "incident", "ts": at_us, **place, "args": args}
