"""A real, tiny model with random weights through the whole farm: to a folder, to S3, and again."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from e2e_farm import Farm
from PIL import Image
from services.endpoint import S3Endpoint
from tiny_wan import save_folder, tiny_dit, tiny_vae_2_2

from farm.media import probe_video
from farm.provenance import CIRCUMSTANCES
from farm.storage import open_storage

SHAPE = {"width": 64, "height": 32, "num_frames": 5, "num_inference_steps": 2, "fps": 8}
ROWS: list[dict[str, Any]] = [
    {"id": "one", "prompt": "a red circle moves to the right", **SHAPE},
    {"id": "same", "prompt": "a red circle moves to the right", **SHAPE},
    {"id": "image", "prompt": "two cats", "image": "first.png", **SHAPE},
    {"id": "unguided", "prompt": "two cats", "guidance_scale": 1.0, **SHAPE, "seed": 7},
]


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Text and image to video as in Wan 2.2's 5B, a few thousand parameters."""
    dit = tiny_dit(seed=2, in_channels=48, out_channels=48)
    folder = tmp_path_factory.mktemp("tiny")
    return save_folder(folder, transformer=dit, vae=tiny_vae_2_2(), expand_timesteps=True)


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Iterator[Farm]:
    """The manifest, rendered to a folder."""
    farm = tiny_farm(tmp_path_factory.mktemp("rendered"), tiny_model)
    code, said = farm.render()
    assert code == 0, said
    assert "report.html" in said
    yield farm
    farm.stop_all()


def tiny_farm(folder: Path, model: Path, **more: Any) -> Farm:
    farm = Farm(folder, model=str(model), **{"environment": {}, **more})
    Image.new("RGB", (64, 32), "navy").save(folder / "first.png")
    farm.write(ROWS)
    return farm


@pytest.mark.timeout(300)
def test_clips_records_and_results(rendered: Farm) -> None:
    lines, records = rendered.results(), rendered.records()
    assert [line["id"] for line in lines] == [row["id"] for row in ROWS]
    assert {line["status"] for line in lines} == {"committed"}
    assert len(records) == len(ROWS)  # equal rows are variations: their seeds differ
    for line in lines:
        facts = probe_video(Path(line["uri"]))
        assert (facts.width, facts.height, facts.num_frames, facts.fps) == (64, 32, 5, 8)
        record = records[line["clip_id"]]
        assert record["video"]["sha256"] == line["sha256"]
        assert record["execution"]["threads"] >= 1
        assert set(record["timings"]) == {"input", "denoise", "decode", "encode"}
    embeddings = list((Path(rendered.out) / "embeddings").iterdir())
    assert len(embeddings) == 3  # two prompts and the negative one, each once


@pytest.mark.timeout(300)
def test_nothing_left_starts_no_ray(rendered: Farm) -> None:
    begun_s = time.monotonic()
    code, said = rendered.render()
    assert code == 0, said
    assert "0 to render" in said
    assert time.monotonic() - begun_s < 10  # 5 on a machine with nothing else to do


@pytest.mark.timeout(300)
def test_verify_and_status(rendered: Farm, capsys: pytest.CaptureFixture[str]) -> None:
    code, said = rendered.run("verify", rendered.out, "--rerender", "2", "--json")
    assert code == 0, said
    found = json.loads(said)
    assert found["clips"] == len(ROWS)
    assert [clip["is_same_bytes"] for clip in found["rerendered"]] == [True, True]
    assert rendered.call("status", rendered.out, "--json") == 0
    (run,) = json.loads(capsys.readouterr().out)["runs"]
    assert (run["clips"], run["done"], run["pending"], run["driver"]) == (4, 4, 0, None)


def test_verify_finds_what_is_wrong(rendered: Farm, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "copy"
    shutil.copytree(rendered.out, out)
    torn, gone, *_ = sorted(out.glob("clips/*/*.mp4"))
    torn.write_bytes(torn.read_bytes()[:-1])
    gone.unlink()
    assert rendered.call("verify", str(out)) == 1
    said = capsys.readouterr().out
    assert f"{torn.parent.name}/{torn.name} is not what its record says" in said
    assert f"{gone.parent.name}/{gone.name} is missing" in said
    assert "2 faults" in said


@pytest.mark.timeout(300)
def test_s3_gets_the_same_bytes(rendered: Farm, tmp_path: Path, tiny_model: Path, moto_s3: S3Endpoint) -> None:
    assert_same_in_s3(rendered, tmp_path, tiny_model, moto_s3)


@pytest.mark.real_s3
@pytest.mark.timeout(300)
def test_real_s3_gets_the_same_bytes(rendered: Farm, tmp_path: Path, tiny_model: Path, ceph_s3: S3Endpoint) -> None:
    assert_same_in_s3(rendered, tmp_path, tiny_model, ceph_s3)


def assert_same_in_s3(rendered: Farm, tmp_path: Path, tiny_model: Path, endpoint: S3Endpoint) -> None:
    """The same manifest to a bucket: byte-identical clips, records equal but for their circumstances."""
    uri = f"s3://{endpoint.new_bucket()}/june"
    farm = tiny_farm(tmp_path, tiny_model, out=uri, environment=endpoint.environment)
    code, said = farm.render()
    assert code == 0, said
    bucket, local = open_storage(uri, options=endpoint.options), rendered.storage
    names = {name for name in local.names("clips") if name.endswith(".mp4")}
    assert {name for name in bucket.names("clips") if name.endswith(".mp4")} == names
    assert all(bucket.read(name) == local.read(name) for name in names)
    for record in (name for name in local.names("clips") if name.endswith(".json")):
        assert comparable(bucket.read(record)) == comparable(local.read(record))
    assert any(name.endswith("report.html") for name in bucket.names("runs"))


def comparable(data: bytes) -> dict[str, Any]:
    """A record without where, when and how fast; inputs lie elsewhere too, but have the same content."""
    record = {key: value for key, value in json.loads(data).items() if key not in CIRCUMSTANCES}
    record["spec"].get("image", {}).pop("uri", None)
    return record
