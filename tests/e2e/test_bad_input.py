"""Bad rows are named and the good ones rendered; what cannot be used at all is one line, and nothing half-made."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from e2e_farm import SMALL, Farm
from PIL import Image

# What is wrong with a row, and what its faults must say.
BAD_ROWS: dict[str, tuple[dict[str, Any], str]] = {
    "no-prompt": ({"prompt": None}, "prompt: missing"),
    "odd-size": ({"width": 40}, "width: 40 is not a positive multiple of 16"),
    "frames": ({"num_frames": 6}, "num_frames: 6 is not 4n+1"),
    "steps": ({"num_inference_steps": -3}, "num_inference_steps: -3"),
    "nan": ({"guidance_scale": float("nan")}, "guidance_scale: nan is not a finite number"),
    "long": ({"prompt": "a" * 100_000}, "prompt: 100000 bytes"),
    "image": ({"image": "torn.png"}, "torn.png"),
    "no-image": ({"image": "absent.png"}, "absent.png"),
    "unknown": ({"colour": "red"}, "colour: unknown"),
    "two": ({"width": 40, "num_frames": 6}, "num_frames: 6 is not 4n+1"),
}


def write_mixed_manifest(farm: Farm) -> list[str]:
    """Every kind of bad row between good ones; the ids of the good ones."""
    Image.new("RGB", (32, 32), "red").save(farm.folder / "good.png")
    (farm.folder / "torn.png").write_bytes((farm.folder / "good.png").read_bytes()[:40])
    good = {
        "plain": {},
        "from-image": {"image": "good.png"},
        "nan-inside": {"prompt": "fake:nan"},
        "bad-inside": {"prompt": "fake:input"},
        "bug": {"prompt": "fake:bug"},
        "killer": {"prompt": "fake:die"},
    }
    rows = [{"id": name, "prompt": "a red circle", **SMALL, **values} for name, values in good.items()]
    rows += [{"id": name, "prompt": "a red circle", **SMALL, **values} for name, (values, _) in BAD_ROWS.items()]
    farm.write([*rows, {"id": "plain", "prompt": "the second of this name", **SMALL}])
    return list(good)


@pytest.mark.timeout(400)
def test_each_bad_row_is_named_and_the_rest_rendered(farm: Farm) -> None:
    write_mixed_manifest(farm)
    code, said = farm.render()
    assert code == 1, said
    lines = {(line["id"], line["status"]): line for line in farm.results()}
    for name, (_, fault) in BAD_ROWS.items():
        assert fault in lines[name, "rejected"]["error"], name
    assert "width: 40" in lines["two", "rejected"]["error"]  # all faults of a row, not the first
    assert "row 0" in lines["plain", "rejected"]["error"]
    assert {name for name, status in lines if status == "committed"} == {"plain", "from-image"}
    classes = {name: line["error_class"] for (name, status), line in lines.items() if status == "failed"}
    assert classes == {
        "nan-inside": "NotFiniteError",
        "bad-inside": "InputError",
        "bug": "ZeroDivisionError",
        "killer": "RankLostError",
    }
    assert lines["killer", "failed"]["attempts"] == 3
    (run_id,) = farm.storage.folders("runs")
    rejected = pq.read_table(Path(farm.out) / "runs" / run_id / "rejected.parquet").to_pylist()
    assert [row["id"] for row in rejected] == [*BAD_ROWS, "plain"]

    letter = json.loads((Path(farm.out) / "failed" / f"{lines['bug', 'failed']['clip_id']}.json").read_text())
    assert "ZeroDivisionError" in letter["traceback"]
    code, said = farm.run(*letter["command"].split()[1:])
    assert code == 1
    assert "the prompt asked for a bug" in said

    code, said = farm.render("--max-failed", "15")
    assert code == 0, said
    assert "0 to render" in said  # what failed is left to retry


def parquet(path: Path, **columns: list[Any]) -> Path:
    pq.write_table(pa.table(columns), path)
    return path


def unusable(kind: str, folder: Path) -> tuple[Path, str]:
    """A manifest that cannot be used, and what the one line must say."""
    path = folder / "manifest.parquet"
    match kind:
        case "unknown column":
            return parquet(path, prompt=["a"], colour=["red"]), "colour"
        case "wrong type":
            return parquet(path, prompt=["a"], width=["wide"]), "width"
        case "no prompt column":
            return parquet(path, id=["a"]), "prompt"
        case "truncated":
            parquet(path, prompt=["a"] * 1000)
            path.write_bytes(path.read_bytes()[:-100])
            return path, "manifest.parquet"
        case "no rows":
            return parquet(path, prompt=pa.array([], pa.string())), "empty"
        case "empty":
            path.write_bytes(b"")
            return path, "empty"
        case "a csv of unknown columns":
            path = folder / "manifest.csv"
            path.write_text("prompt,colour\na,red\n")
            return path, "colour"
        case _:
            return folder / "absent.parquet", "absent.parquet"


UNUSABLE = (
    "unknown column",
    "wrong type",
    "no prompt column",
    "truncated",
    "no rows",
    "empty",
    "a csv of unknown columns",
    "absent",
)


@pytest.mark.parametrize("kind", UNUSABLE)
def test_an_unusable_manifest_is_one_line(farm: Farm, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    farm.manifest, expected = unusable(kind, farm.folder)
    assert expected in only_line(farm, capsys)
    assert not Path(farm.out).exists()


def test_a_missing_model_is_one_line(farm: Farm, capsys: pytest.CaptureFixture[str]) -> None:
    farm.write_clips(1)
    farm.model = str(farm.folder / "no-model")
    assert "no-model" in only_line(farm, capsys)
    assert not Path(farm.out).exists()


def test_an_output_that_cannot_be_written_is_one_line(farm: Farm, capsys: pytest.CaptureFixture[str]) -> None:
    farm.write_clips(1)
    (farm.folder / "file").write_text("not a folder")
    farm.out = str(farm.folder / "file" / "out")
    assert "the output cannot be used" in only_line(farm, capsys)
    assert (farm.folder / "file").read_text() == "not a folder"


def test_strict_refuses_before_anything_is_made(farm: Farm, capsys: pytest.CaptureFixture[str]) -> None:
    farm.write([{"prompt": "a", **SMALL}, {"prompt": "b", **SMALL, "num_frames": 6}])
    assert "--strict" in only_line(farm, capsys, "--strict")
    assert not Path(farm.out).exists()


def only_line(farm: Farm, capsys: pytest.CaptureFixture[str], *flags: str) -> str:
    """What a render says that exits with 2: one line. It runs in this process, as it must not come to Ray."""
    code = farm.call("render", str(farm.manifest), "--out", farm.out, "--model", farm.model, *flags)
    said = capsys.readouterr()
    assert code == 2, said
    assert said.out == ""
    (line,) = said.err.splitlines()
    return line
