"""Manifests: three formats read alike, files that cannot be used are refused whole, bad rows one by one."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from services.endpoint import S3Endpoint

from farm.errors import ManifestError
from farm.files import Files
from farm.manifest import RawRow, open_manifest
from farm.models import NANO_CARD, ModelRef
from farm.plan import Plan, plan_run
from farm.settings import Settings
from farm.spec import RenderOptions
from farm.storage import MemoryStorage

NANO = ModelRef(name="nano", path="/models/nano", card=NANO_CARD, fingerprint="f" * 64)
FULL: dict[str, Any] = {
    "prompt": "a red, round circle\nmoving", "id": "one", "negative_prompt": "ugly", "seed": 5, "width": 64,
    "height": 64, "num_frames": 17, "fps": 8, "num_inference_steps": 20, "guidance_scale": 3.5, "shift": 3.0,
    "solver": "euler", "priority": 2, "tags": {"a": "b"},
}  # fmt: skip


def write(path: Path, rows: list[dict[str, Any]]) -> str:
    """Rows in the format of the path's suffix."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    if path.suffix == ".parquet":
        types = {"tags": pa.map_(pa.string(), pa.string())}
        columns = {name: pa.array([row.get(name) for row in rows], types.get(name)) for name in names}
        pq.write_table(pa.table(columns), path)
    elif path.suffix == ".csv":
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, names)
            writer.writeheader()
            for row in rows:
                writer.writerow({key: json.dumps(value) if isinstance(value, dict | list) else value
                                 for key, value in row.items()})  # fmt: skip
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def read(uri: str, settings: Settings, *, keep_columns: bool = False) -> list[RawRow]:
    with open_manifest(uri, Files(settings), keep_columns=keep_columns) as manifest:
        return [row for batch in manifest.batches() for row in batch.rows]


def refusal(uri: str | Path, settings: Settings) -> str:
    with pytest.raises(ManifestError) as caught:
        read(str(uri), settings)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def plan(uri: str, settings: Settings, **flags: Any) -> Plan:
    return plan_run(uri, model=NANO, options=RenderOptions(), settings=settings, **flags)


def faults(uri: str, settings: Settings) -> dict[int, tuple[str, ...]]:
    return {row: found for row, _, found in plan(uri, settings).rejected}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(cache_dir=tmp_path / "cache")


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


# --- the whole file cannot be used


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


# --- a row cannot be used


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


# --- images


class _Silent(BaseHTTPRequestHandler):
    """Serves one picture; what lies under /slow never comes."""

    picture = b""
    is_over = threading.Event()

    def do_GET(self) -> None:
        if self.path.startswith("/slow"):
            self.is_over.wait(10)
            return
        has_it = self.path == "/a.png"
        self.send_response(200 if has_it else 404)
        self.send_header("ETag", "v1")
        self.send_header("Content-Length", str(len(self.picture) if has_it else 0))
        self.end_headers()
        if has_it and self.command == "GET":
            self.wfile.write(self.picture)

    do_HEAD = do_GET

    def log_message(self, *_: object) -> None:
        """Keep the test's output clean."""


def test_images_come_from_the_web_or_are_given_up(tmp_path: Path) -> None:
    _Silent.picture = picture(tmp_path / "a.png").read_bytes()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Silent)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    base = f"http://127.0.0.1:{server.server_port}"
    rows = [{"prompt": "x", "image": f"{base}/{name}.png"} for name in ("a", "missing", "slow")]
    try:
        found = faults(write(tmp_path / "m.jsonl", rows), Settings(cache_dir=tmp_path / "cache", input_timeout_s=0.5))
    finally:
        _Silent.is_over.set()
        server.shutdown()
        server.server_close()
    assert sorted(found) == [1, 2]
    assert "missing.png: it does not exist" in found[1][0]
    assert "cannot read" in found[2][0]


def picture(path: Path, size: tuple[int, int] = (64, 64), colour: str = "red") -> Path:
    Image.new("RGB", size, colour).save(path)
    return path


def test_images_stand_beside_the_manifest_and_count_by_content(tmp_path: Path, settings: Settings) -> None:
    def clip_ids(folder: str, colour: str) -> list[str]:
        (tmp_path / folder).mkdir()
        picture(tmp_path / folder / "a.png", colour=colour)
        uri = write(tmp_path / folder / "m.jsonl", [{"prompt": "x", "image": "a.png", "seed": 1}])
        out = MemoryStorage(str(tmp_path / folder))
        rows = pq.read_table(io.BytesIO(out.read(plan(uri, settings, out=out).rows_path)))
        return list(rows.column("clip_id").to_pylist())

    assert clip_ids("one", "red") == clip_ids("two", "red") != clip_ids("three", "blue")


def test_known_images_are_not_read_again_until_they_change(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_uris: list[str] = []
    original = Files.read
    monkeypatch.setattr(
        Files, "read", lambda self, uri, **limits: (read_uris.append(uri), original(self, uri, **limits))[1]
    )
    path = picture(tmp_path / "a.png")
    uri = write(tmp_path / "m.jsonl", [{"prompt": str(n), "image": "a.png"} for n in range(3)])
    assert plan(uri, settings).num_remaining == 3
    assert plan(uri, settings).num_remaining == 3
    assert read_uris == [str(path)]
    picture(path, colour="blue")
    assert plan(uri, settings).num_remaining == 3
    assert len(read_uris) == 2


def test_images_that_are_too_large_are_refused(tmp_path: Path, settings: Settings) -> None:
    picture(tmp_path / "a.png", (200, 100))
    uri = write(tmp_path / "m.jsonl", [{"prompt": "x", "image": "a.png"}])
    small = Settings(cache_dir=settings.cache_dir, max_image_pixels=10_000)
    (fault,) = faults(uri, small)[0]
    assert "200x100 pixels" in fault
    tiny = Settings(cache_dir=settings.cache_dir, max_input_bytes=10)
    (fault,) = faults(uri, tiny)[0]
    assert "more than 10 bytes" in fault
    assert faults(uri, settings) == {}
    assert len(faults(uri, small)) == 1  # what passed under wider limits is no pass


def test_an_unwritable_cache_costs_only_time(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    (tmp_path / "file").touch()
    uri = write(tmp_path / "m.jsonl", [{"prompt": "x", "image": "a.png"}])
    assert plan(uri, Settings(cache_dir=tmp_path / "file" / "cache")).num_remaining == 1


def test_what_is_no_file_is_no_image(tmp_path: Path, settings: Settings) -> None:
    os.mkfifo(tmp_path / "pipe")
    images = (".", "gopher://a/b", "pipe")
    uri = write(tmp_path / "m.jsonl", [{"prompt": "x", "image": image} for image in images])
    found = faults(uri, settings)
    assert "it is no regular file" in found[2][0]
    assert "it is a folder" in found[0][0]
    assert "gopher:// is none of" in found[1][0]
