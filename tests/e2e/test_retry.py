"""Clips that were given up, tried again: in this process, and on Ray."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from e2e_farm import SMALL, Farm

from farm import ledger
from farm.models import chosen_model
from farm.normalise import normalise
from farm.request import RowRequest
from farm.settings import Settings
from farm.spec import AssetRef, ClipSpec, RenderOptions
from jobs.here import Bench

CONTENT = b"the picture that was asked for"


def given_up(farm: Farm) -> list[str]:
    """Two clips whose first frame was another file for a while; it is the right one again."""
    settings = Settings.from_env(farm.environment)
    picture = farm.folder / "first.png"
    picture.write_bytes(b"another")
    clip_ids = []
    for seed in (1, 2):
        spec = spec_of(farm, settings, picture, {"seed": seed})
        bench = Bench(farm.storage, settings, spec=spec, model_path=farm.model, threads=1)
        job = bench.job(spec, run_id="0123456789abcdef")
        with bench.renderer() as renderer:
            assert renderer.render(job).status == "failed"
        clip_ids.append(spec.clip_id)
    assert ledger.failed_ids(farm.storage) == set(clip_ids)
    picture.write_bytes(CONTENT)
    return clip_ids


def spec_of(farm: Farm, settings: Settings, picture: Path, more: Mapping[str, Any]) -> ClipSpec:
    model = chosen_model(farm.model, settings)
    request = RowRequest(prompt="a cat", image=str(picture), **SMALL, **more)
    image = AssetRef(uri=str(picture), sha256=hashlib.sha256(CONTENT).hexdigest())
    return normalise(request, model, options=RenderOptions(), seed=0, image=image)


def test_one_clip_here(farm: Farm, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = given_up(farm)
    assert farm.call("retry", farm.out, "--clip", first, "--here") == 0
    assert "committed" in capsys.readouterr().out
    assert farm.committed() == {first}
    assert ledger.failed_ids(farm.storage) == {second}
    assert farm.call("retry", farm.out, "--clip", first, "--here") == 2
    assert "is committed" in capsys.readouterr().err


def test_here_shows_what_still_fails(farm: Farm, capsys: pytest.CaptureFixture[str]) -> None:
    first, _ = given_up(farm)
    (farm.folder / "first.png").write_bytes(b"another")
    assert farm.call("retry", farm.out, "--clip", first, "--here") == 1
    said = capsys.readouterr().out
    assert "InputError" in said
    assert "has changed since" in said


def test_other_weights_are_refused(farm: Farm, capsys: pytest.CaptureFixture[str]) -> None:
    first, _ = given_up(farm)
    (weights,) = (Path(farm.model) / "vae").glob("*.safetensors")
    before = weights.read_bytes()
    try:
        weights.write_bytes(b"trained further")
        assert farm.call("retry", farm.out, "--clip", first, "--here") == 2
    finally:
        weights.write_bytes(before)
    assert "not those that this clip was asked of" in capsys.readouterr().err


@pytest.mark.timeout(300)
def test_all_on_ray(farm: Farm) -> None:
    clip_ids = given_up(farm)
    code, said = farm.run("retry", farm.out, "--failed")
    assert code == 0, said
    assert "2 clips tried again, 0 failed again" in said
    assert farm.committed() == set(clip_ids)
    assert ledger.failed_ids(farm.storage) == set()
    code, said = farm.run("retry", farm.out, "--failed")
    assert (code, said.strip()) == (0, "no clip was given up")
