"""What a newcomer renders first: the example manifest and the samples that the command writes are all in order."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from farm.errors import UsageError
from farm.models import CARDS, NANO_CARD, ModelRef
from farm.plan import Plan, plan_run
from farm.request import FIELDS
from farm.sample_manifest import COLUMN_NOTES, usable_columns, write_sample_manifest
from farm.settings import Settings
from farm.spec import RenderOptions
from wan_model.nano.captions import mentioned

EXAMPLES = Path(__file__).parents[2] / "examples"
RENDERABLE = [name for name, card in CARDS.items() if card.unsupported is None]


def plan(uri: Path, cache_dir: Path, model: str = "nano") -> Plan:
    ref = ModelRef(name=model, path="/m", card=CARDS[model], fingerprint="f" * 64)
    return plan_run(str(uri), model=ref, options=RenderOptions(), settings=Settings(cache_dir=cache_dir))


def test_the_example_manifest_is_24_clips_without_a_fault_or_warning(tmp_path: Path) -> None:
    found = plan(EXAMPLES / "prompts.parquet", tmp_path)
    assert (found.num_rows, found.num_remaining, found.rejected, found.warnings) == (24, 24, (), {})


def test_the_example_manifest_is_what_its_script_makes(tmp_path: Path) -> None:
    location = importlib.util.spec_from_file_location("make_prompts", EXAMPLES / "make_prompts.py")
    assert location is not None
    assert location.loader is not None
    script = importlib.util.module_from_spec(location)
    location.loader.exec_module(script)
    assert pq.read_table(EXAMPLES / "prompts.parquet").equals(script.manifest())
    script.write_images(tmp_path)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == sorted(path.name for path in (EXAMPLES / "images").iterdir())
    for name in names:
        drawn, kept = (np.asarray(Image.open(folder / name)) for folder in (tmp_path, EXAMPLES / "images"))
        assert np.array_equal(drawn, kept)


def test_the_examples_prompts_say_what_their_ids_say() -> None:
    for row in pq.read_table(EXAMPLES / "prompts.parquet").to_pylist():
        found = mentioned(row["prompt"])
        assert row["id"] == "-".join(found[name] for name in ("colour", "shape", "motion", "background"))


@pytest.mark.parametrize("suffix", [".parquet", ".jsonl", ".csv"])
@pytest.mark.parametrize("model", RENDERABLE)
def test_a_sample_has_no_fault_and_no_warning(tmp_path: Path, model: str, suffix: str) -> None:
    path = tmp_path / f"sample{suffix}"
    write_sample_manifest(path, CARDS[model], num_rows=5)
    found = plan(path, tmp_path, model)
    assert (found.num_remaining, found.rejected, found.warnings) == (5, (), {})


def test_a_sample_in_parquet_explains_its_columns(tmp_path: Path) -> None:
    write_sample_manifest(tmp_path / "m.parquet", NANO_CARD)
    for field in pq.read_schema(tmp_path / "m.parquet"):
        assert field.metadata[b"comment"].decode() == COLUMN_NOTES[field.name]


def test_every_column_is_explained_and_only_usable_ones_are_offered() -> None:
    assert set(COLUMN_NOTES) == set(FIELDS)
    assert "image" in usable_columns(NANO_CARD)
    assert not {"video", "control", "adapters"} & set(usable_columns(NANO_CARD))
    assert "image" not in usable_columns(CARDS["wan2.1-t2v-1.3b"])


def test_a_sample_overwrites_nothing_and_refuses_what_it_cannot_write(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("mine")
    for path in (tmp_path / "m.csv", tmp_path / "m.txt", tmp_path / "no" / "m.csv"):
        with pytest.raises(UsageError, match=str(path)):
            write_sample_manifest(path, NANO_CARD)
    assert (tmp_path / "m.csv").read_text() == "mine"
