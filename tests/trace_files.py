"""Reads files in the Trace Event Format as strictly as a viewer might."""

from __future__ import annotations

import json
from collections import defaultdict
from typing import Any

Event = dict[str, Any]
Row = tuple[int, int]


class TraceFile:
    """A file that was read without a fault.

    Each row has a name and its node one; times are whole and not negative; clips of a row follow each other without
    overlapping, and each stage lies within one clip and behind the stage before it.
    """

    def __init__(self, text: str) -> None:
        content = json.loads(text)
        self.about: dict[str, str] = content["otherData"]
        self.events: list[Event] = content["traceEvents"]
        self.names: dict[tuple[str, Row], str] = {}
        self.clips: list[Event] = []
        self.stages: dict[str, list[Event]] = defaultdict(list)
        self.instants: list[Event] = []
        self._free: dict[Row, int] = defaultdict(int)
        self._clip: dict[Row, Event] = {}
        for event in self.events:
            self._take(event)

    def stages_of(self, clip: Event) -> list[Event]:
        """Those that lie in a clip's slice."""
        own = self.stages[clip["args"]["clip_id"]]
        return [stage for stage in own if clip["ts"] <= stage["ts"] <= clip["ts"] + clip["dur"]]

    def row_name(self, event: Event) -> str:
        return self.names["thread_name", (event["pid"], event["tid"])]

    def node_name(self, event: Event) -> str:
        return self.names["process_name", (event["pid"], event["tid"])]

    def _take(self, event: Event) -> None:
        row = (event["pid"], event["tid"])
        assert isinstance(event["ts"], int)
        assert event["ts"] >= 0
        match event["ph"], event.get("cat"):
            case "M", _:
                self.names[event["name"], row] = event["args"]["name"]
                return
            case "X", "clip":
                assert event["ts"] >= self._free[row], event
                self._free[row] = event["ts"]
                if row in self._clip:
                    assert event["ts"] >= self._clip[row]["ts"] + self._clip[row]["dur"]
                self._clip[row] = event
                self.clips.append(event)
            case "X", "stage":
                clip = self._clip[row]
                assert event["args"]["clip_id"] == clip["args"]["clip_id"]
                assert self._free[row] <= event["ts"], event
                assert event["ts"] + event["dur"] <= clip["ts"] + clip["dur"], event
                self._free[row] = event["ts"] + event["dur"]
                self.stages[event["args"]["clip_id"]].append(event)
            case "i", "incident":
                assert event["s"] == "t"
                self.instants.append(event)
            case other:
                raise AssertionError(f"an event of no known kind: {other}")
        assert event.get("dur", 0) >= 0
        assert {("process_name", row), ("thread_name", row)} <= set(self.names)
