"""A manifest that cannot be used is refused whole, in one line: it is absent, damaged, or its columns are wrong."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from manifests import FULL, refusal, write

from farm.settings import Settings


def test_a_missing_manifest_is_refused(tmp_path: Path, settings: Settings) -> None:
    assert "does not exist" in refusal(tmp_path / "no.parquet", settings)
    assert "must end in .parquet" in refusal(__file__, settings)
    (tmp_path / "empty").mkdir()
    assert "does not exist" in refusal(tmp_path / "empty", settings)
    (tmp_path / "empty" / "readme.md").touch()
    assert "no file in it ends in .parquet" in refusal(tmp_path / "empty", settings)
    assert "ftp:// is none of" in refusal("ftp://host/m.parquet", settings)


def test_mixed_formats_are_refused(tmp_path: Path, settings: Settings) -> None:
    write(tmp_path / "a.jsonl", [FULL])
    write(tmp_path / "a.csv", [FULL])
    assert "mixes formats: csv, jsonl" in refusal(tmp_path, settings)


@pytest.mark.parametrize("suffix", [".parquet", ".jsonl", ".csv"])
def test_an_empty_file_is_refused(tmp_path: Path, settings: Settings, suffix: str) -> None:
    path = tmp_path / f"m{suffix}"
    path.touch()
    assert "is empty: it has no bytes" in refusal(path, settings)


def test_a_manifest_without_rows_is_refused(tmp_path: Path, settings: Settings) -> None:
    pq.write_table(pa.table({"prompt": pa.array([], pa.string())}), tmp_path / "m.parquet")
    (tmp_path / "m.csv").write_text("prompt,seed\n")
    (tmp_path / "m.jsonl").write_text("\n\n")
    for suffix in (".parquet", ".jsonl", ".csv"):
        assert "is empty: it has no rows" in refusal(tmp_path / f"m{suffix}", settings)


@pytest.mark.parametrize("suffix", [".parquet", ".jsonl", ".csv"])
def test_a_truncated_file_is_refused(tmp_path: Path, settings: Settings, suffix: str) -> None:
    path = tmp_path / f"m{suffix}"
    write(path, [FULL] * 20)
    data = path.read_bytes()
    cut = data.rindex(b"moving") if suffix == ".csv" else len(data) - 20
    path.write_bytes(data[:cut])
    message = refusal(path, settings)
    assert "truncated" in message or "unexpected end of data" in message


def test_a_parquet_file_damaged_inside_is_refused(tmp_path: Path, settings: Settings) -> None:
    path = tmp_path / "m.parquet"
    table = pa.table({"prompt": [f"a prompt that says {n}" for n in range(2000)]})
    pq.write_table(table, path, compression="none", use_dictionary=False)
    data = bytearray(path.read_bytes())
    data[200:20_000] = b"\xff" * 19_800
    path.write_bytes(data)
    assert "cannot be read to its end" in refusal(path, settings)


@pytest.mark.parametrize("suffix", [".parquet", ".jsonl", ".csv"])
def test_binary_rubbish_is_refused(tmp_path: Path, settings: Settings, suffix: str) -> None:
    path = tmp_path / f"m{suffix}"
    path.write_bytes(b"prompt\n" + bytes(range(256)) * 10)
    assert str(path) in refusal(path, settings)


def test_text_that_is_no_jsonl_is_refused(tmp_path: Path, settings: Settings) -> None:
    (tmp_path / "m.jsonl").write_text("prompt,seed\na circle,5\n")
    assert "not one of its lines" in refusal(tmp_path / "m.jsonl", settings)


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
def test_all_bad_columns_are_named(tmp_path: Path, settings: Settings, suffix: str) -> None:
    uri = write(tmp_path / f"m{suffix}", [{"promt": "x", "colour": "red", "width": "wide", "seed": 4}])
    message = refusal(uri, settings)
    for part in (
        "prompt: missing",
        "promt: unknown (did you mean prompt?)",
        "colour: unknown",
        "width: holds",
        "expected whole numbers",
        "--keep-columns",
    ):
        assert part in message
    assert "seed" not in message


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("prompt", pa.int64()), ("seed", pa.string()), ("seed", pa.bool_()), ("guidance_scale", pa.string()),
        ("tags", pa.string()), ("tags", pa.map_(pa.string(), pa.int64())), ("adapters", pa.list_(pa.string())),
        ("image", pa.binary()), ("width", pa.list_(pa.int64())), ("id", pa.int64()),
    ],
)  # fmt: skip
def test_wrongly_typed_parquet_columns_are_refused(
    tmp_path: Path, settings: Settings, name: str, kind: pa.DataType
) -> None:
    table = pa.table({"prompt": pa.array(["x"]), name: pa.array([None], kind)})
    pq.write_table(table, tmp_path / "m.parquet")
    assert f"{name}: holds {str(kind).split('<')[0]}" in refusal(tmp_path / "m.parquet", settings)
