"""Rows that cannot be used are rejected one by one, each with all its faults, and the others stand."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from manifests import faults, plan, write
from PIL import Image

from farm.errors import ManifestError
from farm.settings import Settings
from farm.storage import MemoryStorage


def test_a_bad_row_of_each_kind_is_rejected_with_its_faults_and_the_others_stand(
    tmp_path: Path, settings: Settings
) -> None:
    (tmp_path / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n and then nothing")
    Image.new("RGB", (64, 64), "red").save(tmp_path / "good.png")
    rows: list[dict[str, Any]] = [
        {"id": "a", "prompt": "good"},
        {"id": "b"},
        {"prompt": "x", "width": 50},
        {"prompt": "x", "num_frames": 16},
        {"prompt": "x", "num_inference_steps": -1},
        {"prompt": "x", "guidance_scale": math.nan},
        {"id": "a", "prompt": "x"},
        {"prompt": "x" * 100_000},
        {"prompt": "x", "image": "bad.png"},
        {"prompt": "x", "image": "missing.png"},
        {"prompt": "x", "colour": "red"},
        {"prompt": "x", "num_frames": 16.5, "width": "64", "shift": -math.inf, "video": "v.mp4"},
        {"prompt": "good too", "image": "good.png"},
    ]
    uri = write(tmp_path / "m.jsonl", rows)
    found = faults(uri, settings)
    assert sorted(found) == list(range(1, 12))
    expected = {
        1: ["prompt: missing"],
        2: ["width: 50 is not a positive multiple of 16"],
        3: ["num_frames: 16 is not 4n+1 (nearest: 13 or 17)"],
        4: ["num_inference_steps: -1"],
        5: ["guidance_scale: nan is not a finite number"],
        6: ["id: 'a' is that of row 0 too, which stands"],
        7: ["prompt: 100000 bytes, at most 8192"],
        8: [f"image: {tmp_path}/bad.png: "],
        9: [f"image: cannot read {tmp_path}/missing.png: it does not exist"],
        10: ["colour: unknown"],
        11: ["width: expected a whole number", "num_frames: 16.5", "shift: -inf", "video: nano has no video-to-video"],
    }
    for row, starts in expected.items():
        assert len(found[row]) == len(starts), found[row]
        for fault, start in zip(found[row], starts, strict=True):
            assert fault.startswith(start)
    assert plan(uri, settings).num_remaining == 2


def test_strict_refuses_the_manifest_instead(tmp_path: Path, settings: Settings) -> None:
    uri, out = (
        write(tmp_path / "m.jsonl", [{"prompt": "x"}, {"prompt": "x", "width": 50}]),
        MemoryStorage(str(tmp_path)),
    )
    with pytest.raises(ManifestError, match="row 1: width: 50"):
        plan(uri, settings, strict=True, out=out)
    assert list(out.names()) == []


def test_bad_lines_of_jsonl_are_faults_of_their_rows(tmp_path: Path, settings: Settings) -> None:
    lines = ['{"prompt": "x"}', "{prompt}", "", "[1]", '{"prompt": "\\ud800"}', "[" * 100_000, '{"prompt": "y"}']
    (tmp_path / "m.jsonl").write_text("\n".join(lines) + "\n")
    found = faults(str(tmp_path / "m.jsonl"), settings)
    assert [faults[0].split(" (")[0] for faults in found.values()] == [
        "line 2 is not JSON",
        "line 4 is not a JSON object",
        "line 5 holds half a character",
        "line 6 is nested too deeply",
    ]
    assert list(found) == [1, 2, 3, 4]


def test_bad_cells_and_rows_of_csv_are_faults_of_their_rows(tmp_path: Path, settings: Settings) -> None:
    text = 'prompt,seed,tags,guidance_scale\nx,5,"{""a"": ""b""}",3\nx,five,,\nx\nx,1_0,[,nan\n\n,6,,\n'
    (tmp_path / "m.csv").write_text(text)
    assert faults(str(tmp_path / "m.csv"), settings) == {
        1: ("seed: expected a whole number, not 'five'",),
        2: ("has 1 cells, the header has 4",),
        3: (
            "seed: expected a whole number, not '1_0'",
            "guidance_scale: nan is not a finite number",
            "tags: expected a map, not '['",
        ),
        4: ("prompt: missing",),
    }


def test_an_overlong_cell_of_csv_is_a_fault_of_its_row(tmp_path: Path, settings: Settings) -> None:
    uri = write(tmp_path / "m.csv", [{"prompt": "x" * 300_000}, {"prompt": "x"}])
    assert faults(uri, settings) == {0: ("prompt: 300000 bytes, at most 8192",)}
