"""A disk that fills up is the machine's fault: the run stops and says so, no clip pays, and it goes on later.

The disks are real ones of a megabyte (tmpfs), which takes the right to mount.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from e2e_farm import Farm, finish, stamps_of, wait_until

pytestmark = pytest.mark.slow

NUM_CLIPS = 6
# Longer than Ray's sockets allow: its own files then lie in /tmp, and this disk holds the workers' alone.
SPOOL = "a-folder-for-what-is-in-work-that-is-too-long-for-ray"


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """A file system of its own at the folder, for as long as the block lasts."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no right to mount a file system: {getattr(error, 'stderr', error)}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(disk: Path, *, leaving_pages: int = 0) -> Path:
    """Take what is free, but for some pages of 4 KiB; returns the file to delete."""
    filler = disk / "filler"
    with suppress(OSError), filler.open("wb", buffering=0) as sink:
        while True:
            sink.write(b"x" * 4096)
    assert shutil.disk_usage(disk).free == 0
    os.truncate(filler, filler.stat().st_size - 4096 * leaving_pages)
    return filler


def is_planned(farm: Farm) -> bool:
    return any("/plan/" in path for path in farm.storage.names("runs"))


def assert_it_stopped(code: int, said: str, *, path: str) -> None:
    """Exit 75, and the last line says what is full."""
    last = said.splitlines()[-1]
    assert code == 75, said
    assert "3 passes without progress" in last
    assert path in last
    assert "No space left on device" in last


def assert_it_goes_on(farm: Farm) -> None:
    """With room again the same command ends the run, and no clip was blamed."""
    code, said = farm.render()
    assert code == 0, said
    assert len(farm.committed()) == NUM_CLIPS
    assert {record["attempts"] for record in farm.records().values()} == {1}
    assert not list(farm.storage.names("failed"))


def test_no_room_to_plan(farm: Farm) -> None:
    farm.write_clips(NUM_CLIPS)
    with small_disk(farm.folder / SPOOL) as disk:
        farm.environment["TMPDIR"] = str(disk)
        fill(disk, leaving_pages=1)  # Python itself passes over a TMPDIR without any
        code, said = farm.render()
    (line,) = said.splitlines()
    assert code == 75
    assert f"cannot write in {disk}" in line
    assert "No space left on device" in line


@pytest.mark.timeout(300)
def test_no_room_for_a_clip_in_work(farm: Farm) -> None:
    large = {"width": 256, "height": 256, "num_frames": 65}
    farm.write([{"prompt": f"a red circle {n}", "num_inference_steps": 2, "fps": 8, **large} for n in range(NUM_CLIPS)])
    with small_disk(farm.folder / SPOOL) as disk:
        farm.environment["TMPDIR"] = str(disk)
        driver = farm.start_render("--workers", "1")
        wait_until(lambda: is_planned(farm) and not any(disk.iterdir()), timeout_s=60, what="the plan")
        # While Ray starts. For notes of the clip in work, and the head of its video.
        filler = fill(disk, leaving_pages=5)
        code, said = finish(driver)
        assert_it_stopped(code, said, path=str(disk))
        assert ".mp4: No space" in said
        assert not farm.committed()
        filler.unlink()
        assert_it_goes_on(farm)


@pytest.mark.timeout(300)
def test_no_room_in_the_output(farm: Farm) -> None:
    farm.write_clips(NUM_CLIPS, slow_s=0.6)
    with small_disk(Path(farm.out)) as disk:
        driver = farm.start_render()
        farm.await_clips(2, driver)
        filler = fill(disk)
        before = stamps_of(farm.committed(), farm.out)
        code, said = finish(driver)
        assert_it_stopped(code, said, path=str(disk))
        filler.unlink()
        assert_it_goes_on(farm)
        assert stamps_of({Path(path).name[:32] for path in before}, farm.out) == before
