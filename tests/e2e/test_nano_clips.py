"""The embedded model through the command: examples of `make render`, clips that show what their prompts say, and what
the run tells of itself: its log, and its timeline.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from e2e_farm import RENDER_S, Farm
from trace_files import TraceFile

from farm.media import read_frames
from wan_model.nano.captions import mentioned
from wan_model.nano.judge import judge

EXAMPLES = Path(__file__).parents[2] / "examples"
ROWS = (0, 1, 2, 3, 20, 21)  # the last two start from a picture


@pytest.mark.timeout(300)
def test_examples_show_what_their_prompts_say(tmp_path: Path) -> None:
    farm = Farm(tmp_path, model="nano", environment={"WANFARM_LOG": "json", "WANFARM_LOG_LEVEL": "debug"})
    (tmp_path / "images").symlink_to(EXAMPLES / "images")
    farm.manifest = tmp_path / "prompts.parquet"
    table = pq.read_table(EXAMPLES / "prompts.parquet")
    assert table.num_rows == 24
    pq.write_table(table.take(list(ROWS)), farm.manifest)
    command = [sys.executable, "-m", "jobs.cli", "render", str(farm.manifest), "--out", farm.out, "--model", "nano"]
    done = subprocess.run(command, env=farm.environment, capture_output=True, text=True, timeout=RENDER_S)
    assert done.returncode == 0, done.stderr
    assert_all_is_logged(farm, [json.loads(line) for line in done.stderr.splitlines()])
    assert_all_is_drawn(farm)
    num_asked, num_shown = 0, 0
    for line in farm.results():
        reading = judge(np.stack(list(read_frames(Path(line["uri"])))))
        asked = mentioned(line["prompt"])
        assert asked, line["prompt"]
        num_asked += len(asked)
        num_shown += sum(getattr(reading, field) == name for field, name in asked.items())
    # The model gets some 97 of 100 attributes right; these few clips may miss one or two.
    assert num_shown >= num_asked - 2, f"{num_shown} of {num_asked}"


def assert_all_is_logged(farm: Farm, lines: list[dict[str, Any]]) -> None:
    """Of the run by its driver, of each clip by its gang's leader and by its rank."""
    (run_id,) = farm.storage.folders("runs")
    told: dict[str, list[dict[str, Any]]] = {}
    for line in lines:
        assert {"time", "level", "logger", "message"} <= set(line)
        told.setdefault(line["message"], []).append(line)
    for message in ("run planned", "run begun", "gang ready", "rank ready", "clip committed", "run ended"):
        assert {line["run_id"] for line in told[message]} == {run_id}, message
    for message in ("clip begun", "rank begins", "clip committed"):
        assert {line["clip_id"] for line in told[message]} == farm.committed(), message
    for line in told["rank ready"] + told["rank begins"]:
        assert (line["rank"], line["role"], line["model"]) == (0, "rank", "nano")
    for line in told["clip committed"]:
        assert {"denoise", "decode", "encode", "publish"} <= set(line["stages"])
        assert line["worker"] in {gang["worker"] for gang in told["gang ready"]}


def assert_all_is_drawn(farm: Farm) -> None:
    file = farm.folder / "trace.json"
    assert farm.call("trace", farm.out, "--out", str(file)) == 0
    trace = TraceFile(file.read_text())
    assert {clip["args"]["clip_id"] for clip in trace.clips} == farm.committed()
    assert not any("is_estimated" in clip["args"] for clip in trace.clips)
    for clip in trace.clips:
        drawn = {stage["name"]: stage["dur"] / 1e6 for stage in trace.stages_of(clip)}
        assert drawn == pytest.approx(clip["args"]["seconds"], abs=1e-3)
        assert sum(drawn.values()) == pytest.approx(clip["dur"] / 1e6, rel=0.2)
