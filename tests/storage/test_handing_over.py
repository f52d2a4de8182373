"""A manifest of this machine is put into a bucket under its content's name, where a driver reads the same run."""

from __future__ import annotations

from pathlib import Path

import pytest
from services.endpoint import S3Endpoint

from farm.settings import Settings
from farm.storage import open_storage
from jobs.calls import Asked
from jobs.handing_over import hand_over


@pytest.mark.parametrize("names", [["m.jsonl"], ["b.jsonl", "a/c.jsonl"]])
def test_a_copied_manifest_is_the_same_run(names: list[str], tmp_path: Path, moto_s3: S3Endpoint) -> None:
    settings = Settings(cache_dir=tmp_path / "cache", storage_options={"s3": moto_s3.options})
    out = open_storage(f"s3://{moto_s3.new_bucket()}/june", options=settings.options_for("s3"))
    folder = tmp_path / "manifest"
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f'{{"prompt": "a red circle in {name}"}}\n')
    manifest = str(folder / names[0] if len(names) == 1 else folder)
    handed = hand_over(manifest, out=out, asked=Asked(), settings=settings)
    assert handed.manifest.startswith(f"{out.uri}/manifests/")
    assert len(list(out.names("manifests"))) == len(names)
    again = hand_over(handed.manifest, out=out, asked=Asked(), settings=settings)
    assert again == handed  # one that lies in the bucket is left where it is
