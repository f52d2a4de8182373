"""Manifests in three formats, in one file or many, from near or far, are read alike."""

from __future__ import annotations

import io
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from manifests import FULL, plan, read, refusal, write
from PIL import Image
from services.endpoint import S3Endpoint

from farm.files import Files
from farm.manifest import open_manifest
from farm.settings import Settings
from farm.storage import MemoryStorage


@pytest.mark.parametrize("suffix", [".parquet", ".jsonl", ".csv"])
def test_all_formats_read_alike(tmp_path: Path, settings: Settings, suffix: str) -> None:
    uri = write(tmp_path / f"m{suffix}", [FULL, {"prompt": "ein Kreis – 红色"}])
    first, second = read(uri, settings)
    assert (first.row, first.values) == (0, FULL)
    assert (second.row, {key: value for key, value in (second.values or {}).items() if value is not None}) == (
        1,
        {"prompt": "ein Kreis – 红色"},
    )


def test_all_formats_give_the_same_clips(tmp_path: Path, settings: Settings) -> None:
    ids = []
    for suffix in (".parquet", ".jsonl", ".csv"):
        out = MemoryStorage(f"{tmp_path}{suffix}")
        found = plan(write(tmp_path / f"m{suffix}", [FULL, {"prompt": "x"}]), settings, out=out)
        ids.append(pq.read_table(io.BytesIO(out.read(found.rows_path))).column("clip_id").to_pylist())
    assert ids[0] == ids[1] == ids[2]
    assert len(set(ids[0])) == 2


@pytest.mark.parametrize("pattern", ["", "/*.jsonl"])
def test_a_folder_or_glob_of_parts_is_one_manifest(tmp_path: Path, settings: Settings, pattern: str) -> None:
    folder = tmp_path / "parts"
    folder.mkdir()
    write(folder / "b.jsonl", [{"prompt": "2"}])
    write(folder / "a.jsonl", [{"prompt": "0"}, {"prompt": "1"}])
    (folder / "_SUCCESS").touch()
    (folder / ".a.jsonl.crc").touch()
    rows = read(f"{folder}{pattern}", settings)
    assert [(row.row, (row.values or {})["prompt"]) for row in rows] == [(0, "0"), (1, "1"), (2, "2")]


def test_many_rows_come_in_batches(tmp_path: Path, settings: Settings) -> None:
    uri = write(tmp_path / "m.parquet", [{"prompt": str(n)} for n in range(5000)])
    with open_manifest(uri, Files(settings)) as manifest:
        sizes = [len(batch.rows) for batch in manifest.batches()]
    assert sum(sizes) == 5000
    assert len(sizes) > 1
    assert [row.row for row in read(uri, settings)] == list(range(5000))


def test_remote_manifests_are_read(settings: Settings) -> None:
    with fsspec.open("memory://bucket/m.jsonl", "w") as file:
        file.write('{"prompt": "x"}\n')
    assert [row.values for row in read("memory://bucket/m.jsonl", settings)] == [{"prompt": "x"}]


def test_manifests_and_images_are_read_from_s3(moto_s3: S3Endpoint, tmp_path: Path) -> None:
    bucket, options = moto_s3.new_bucket(), dict(moto_s3.options)
    system = fsspec.filesystem("s3", skip_instance_cache=True, **options)
    picture = io.BytesIO()
    Image.new("RGB", (64, 64)).save(picture, "PNG")
    system.pipe_file(f"{bucket}/in/a.png", picture.getvalue())
    system.pipe_file(f"{bucket}/in/m.jsonl", b'{"prompt": "x", "image": "a.png"}\n{"prompt": "x", "image": "b.png"}\n')
    settings = Settings(cache_dir=tmp_path, storage_options={"s3": options})
    found = plan(f"s3://{bucket}/in/m.jsonl", settings)
    assert (found.num_remaining, found.num_rejected) == (1, 1)
    assert found.rejected[0][2] == (f"image: cannot read s3://{bucket}/in/b.png: it does not exist",)
    assert len(read(f"s3://{bucket}/in/", settings)) == 2
    assert "does not exist" in refusal(f"s3://{bucket}/in/no.jsonl", settings)


def test_other_spellings_of_a_type_are_read(tmp_path: Path, settings: Settings) -> None:
    table = pa.table(
        {
            "prompt": pa.array(["x"]).dictionary_encode(),
            "id": pa.array(["a"], pa.large_string()),
            "seed": pa.array([5.0], pa.float64()),
            "width": pa.array([64], pa.uint8()),
            "guidance_scale": pa.array([3], pa.int32()),
            "tags": pa.array([{"a": "b", "c": None}]),
            "fps": pa.array([None], pa.null()),
        }
    )
    pq.write_table(table, tmp_path / "m.parquet")
    (row,) = read(str(tmp_path / "m.parquet"), settings)
    assert row.values == {
        "prompt": "x", "id": "a", "seed": 5, "width": 64, "guidance_scale": 3, "tags": {"a": "b"},
    }  # fmt: skip
    assert plan(str(tmp_path / "m.parquet"), settings).num_remaining == 1


@pytest.mark.parametrize("suffix", [".parquet", ".jsonl", ".csv"])
def test_unknown_columns_are_kept_when_asked(tmp_path: Path, settings: Settings, suffix: str) -> None:
    uri = write(tmp_path / f"m{suffix}", [{"prompt": "x", "shot": "12"}])
    (row,) = read(uri, settings, keep_columns=True)
    assert (row.values, row.kept) == ({"prompt": "x"}, {"shot": "12"})
    out = MemoryStorage(str(tmp_path))
    found = plan(uri, settings, keep_columns=True, out=out)
    assert pq.read_table(io.BytesIO(out.read(found.rows_path))).column("kept").to_pylist() == ['{"shot": "12"}']
