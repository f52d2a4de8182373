"""A batch run with nano under Prometheus, through every fault that an alert on batch runs is about."""

from __future__ import annotations

import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from e2e_farm import Farm, finish, wait_until
from metrics_faults import kill_ranks, put_first, ranks, slowed, specs_of, stranger
from services.prometheus import Prometheus
from services.ray_head import RayHead

NUM_CLIPS, NUM_GONE, NUM_LONG = 60, 2, 6
LONG_STEPS = 250
NUM_GANGS = 2
IMAGE = Path(__file__).parents[1] / "examples/images/cyan-circle.png"
COLOURS = ("red", "green", "blue", "orange", "purple", "white", "cyan")
END_S = 240.0


def run_batch(farm: Farm, head: RayHead, prometheus: Prometheus, *, port: int) -> None:
    """To the end of a run of which two clips are bad, one is put by somebody else, and gangs are slowed and killed."""
    write_manifest(farm)
    driver = farm.start_render("--address", head.address, "--metrics-port", str(port), "--workers", str(NUM_GANGS))
    with said_by(driver) as said:
        said.await_line(" to render")
        with prometheus.provoked("FarmClipsGivenUp", "FarmFailureShare"):
            (farm.folder / "gone.png").unlink()
            farm.await_clips(4, driver)
            slow_a_gang(head, prometheus)
            disturb(farm, head, prometheus)
            break_long_clips(farm, head, prometheus)
            assert driver.wait(timeout=END_S) == 1


def write_manifest(farm: Farm) -> None:
    """Ordinary clips, two whose picture will be gone, and some that take long."""
    shutil.copy(IMAGE, farm.folder / "gone.png")
    rows: list[dict[str, Any]] = [
        {"id": f"c{n}", "prompt": f"a {COLOURS[n % len(COLOURS)]} circle moves right", "seed": n}
        for n in range(NUM_CLIPS)
    ]
    rows += [{"id": f"gone{n}", "prompt": "a circle moves up", "seed": n, "image": "gone.png"} for n in range(NUM_GONE)]
    rows += [
        {"id": f"long{n}", "prompt": "a red square moves left", "seed": n, "num_inference_steps": LONG_STEPS}
        for n in range(NUM_LONG)
    ]
    farm.write(rows)


def slow_a_gang(head: RayHead, prometheus: Prometheus) -> None:
    """One of the two, until it shows."""
    with prometheus.provoked("FarmSlowGang", is_quiet_before=False), slowed(ranks(head, count=NUM_GANGS)[0]):
        prometheus.await_alert("FarmSlowGang")


def disturb(farm: Farm, head: RayHead, prometheus: Prometheus) -> None:
    """A stranger takes resources, and a person pauses the run: it ends no clips, which is what a stalled one does.

    When it goes on its gangs load again, and what loads does not work.
    """
    with prometheus.provoked("FarmPlacementGroupsLeft"), stranger(head):
        with prometheus.provoked("FarmRunStalled", "FarmActorsDoNotStart", is_quiet_before=False):
            assert finish(farm.start("pause", farm.out), timeout_s=60)[0] == 0
        prometheus.await_alert("FarmPlacementGroupsLeft")
    with prometheus.provoked("FarmDevicesIdle", is_quiet_before=False):
        assert finish(farm.start("resume", farm.out), timeout_s=60)[0] == 0


def break_long_clips(farm: Farm, head: RayHead, prometheus: Prometheus) -> None:
    """Somebody else puts one first; at others the ranks are killed."""
    (run_id,) = farm.storage.folders("runs")
    specs = specs_of(farm.storage, run_id, steps=LONG_STEPS)
    with prometheus.provoked("FarmPublishConflicts"):
        put_first(farm.storage, specs, farm.folder)
    with prometheus.provoked("FarmGangsBreak", "FarmLostWork"):
        kill_ranks(farm.storage, specs, head)


class Said:
    """The lines of a command, read as they come."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.lines: list[str] = []
        self._process = process
        threading.Thread(target=self._read, daemon=True).start()

    def await_line(self, text: str) -> None:
        """Return when a line holds it."""

        def is_said() -> bool:
            assert self._process.poll() is None
            return any(text in line for line in self.lines)

        wait_until(is_said, timeout_s=120, what=text)

    def _read(self) -> None:
        for line in self._process.stdout or ():
            self.lines.append(line.rstrip())


@contextmanager
def said_by(process: subprocess.Popen[str]) -> Iterator[Said]:
    """What a command says stands below whatever fails meanwhile."""
    said = Said(process)
    try:
        yield said
    except BaseException as error:
        error.add_note("\n".join(said.lines[-40:]))
        raise
