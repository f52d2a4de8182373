"""A model of two experts on gangs that hold one each: the same clips, to the byte, whoever is killed on the way."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from e2e_farm import SMALL, Farm, children_of, finish, wait_until
from e2e_folders import write_fake_folder
from gang_orders import spec_of
from safetensors.torch import load_file, save_file
from two_experts import WEIGHTS, write_two_experts

from farm.experts import handover_step
from farm.provenance import CIRCUMSTANCES

pytestmark = pytest.mark.slow

SHAPE: dict[str, Any] = {"width": 64, "height": 64, "num_frames": 5, "num_inference_steps": 8, "fps": 8, "shift": 3.0}
ROWS: list[dict[str, Any]] = [
    {"id": "one", "prompt": "a red circle moves to the right", **SHAPE},
    {"id": "two", "prompt": "a blue square moves up", "guidance_scale": 1.0, **SHAPE},
    {"id": "high alone", "prompt": "a green triangle", **SHAPE, "num_inference_steps": 2, "shift": 50.0},
    {"id": "low alone", "prompt": "a green triangle", **SHAPE, "num_inference_steps": 2, "shift": 0.1},
    {"id": "five", "prompt": "a yellow circle moves down", **SHAPE, "solver": "euler"},
]
EXPERTS = frozenset({"transformer", "transformer_2"})
FLAGS = ("--dtype", "float32", "--threads", "1")
POOLS = (*FLAGS, "--workers", "2", "--expert-pools", "on")


@pytest.fixture(scope="module")
def two_experts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """In float32, which ranks map from its files: so it can be seen which of them a rank holds."""
    folder = write_two_experts(tmp_path_factory.mktemp("models") / "two")
    for expert in EXPERTS:
        tensors = load_file(folder / expert / WEIGHTS)
        save_file({name: tensor.float() for name, tensor in tensors.items()}, folder / expert / WEIGHTS)
    return folder


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory, two_experts: Path) -> Iterator[Farm]:
    """The same clips, made by one gang that holds both experts."""
    farm = farm_of(tmp_path_factory.mktemp("alone"), two_experts)
    code, said = farm.render(*FLAGS, "--workers", "1", "--expert-pools", "off")
    assert code == 0, said
    yield farm
    farm.stop_all()


@pytest.fixture
def pools(tmp_path: Path, two_experts: Path) -> Iterator[Farm]:
    farm = farm_of(tmp_path, two_experts)
    yield farm
    farm.stop_all()


def farm_of(folder: Path, model: Path, **environment: str) -> Farm:
    farm = Farm(folder, model=str(model), environment=environment)
    farm.write(ROWS)
    return farm


def assert_the_same_clips(farm: Farm, expected: Farm) -> None:
    """Records are equal but for when and where; with the execution and the video's hash in them."""
    left_out = CIRCUMSTANCES

    def kept(records: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        return {
            clip_id: {name: value for name, value in record.items() if name not in left_out}
            for clip_id, record in records.items()
        }

    assert kept(farm.records()) == kept(expected.records())
    assert len(farm.committed()) == len(ROWS)


@pytest.mark.timeout(400)
def test_pools_make_the_same_clips_and_no_rank_holds_both_experts(pools: Farm, alone: Farm) -> None:
    driver, seen = pools.start_render(*POOLS), set[frozenset[str]]()

    def looked() -> bool:
        seen.update(experts for _, experts in ranks_of(driver))
        return driver.poll() is not None

    wait_until(looked, timeout_s=300, what="the end of the run")
    code, said = finish(driver)
    assert code == 0, said
    assert frozenset({"transformer"}) in seen
    assert frozenset({"transformer_2"}) in seen
    assert not any(len(experts) > 1 for experts in seen)
    assert_the_same_clips(pools, alone)
    records = pools.records().values()
    assert not any(record["lost_steps"] or record["discarded"] or record["resumed_at"] for record in records)
    assert not list(pools.storage.names("state"))


@pytest.mark.timeout(400)
@pytest.mark.parametrize("expert", ["transformer", "transformer_2"])
def test_a_killed_rank_of_either_pool(pools: Farm, alone: Farm, expert: str) -> None:
    pools.environment["WANFARM_CHECKPOINT_STEPS"] = "1"
    driver = pools.start_render(*POOLS)
    found = list[psutil.Process]()

    def is_up() -> bool:
        found[:] = [rank for rank, experts in ranks_of(driver) if experts == {expert}]
        return bool(found)

    wait_until(is_up, timeout_s=120, what=f"a rank with {expert}")
    found[0].send_signal(signal.SIGKILL)
    code, said = finish(driver)
    assert code == 0, said
    assert_the_same_clips(pools, alone)


FAKE: dict[str, Any] = {**SMALL, "num_inference_steps": 8}
# Where the middle step, at which the fake engine's faults happen, is one or the other expert's.
IN_HIGH, IN_LOW = {**FAKE, "shift": 3.0}, {**FAKE, "shift": 0.1}


@pytest.fixture
def fakes(tmp_path: Path) -> Iterator[Farm]:
    """The fake backend, on a model of two experts that change places at half of the timesteps."""
    folder = write_fake_folder(tmp_path / "fake")
    shutil.copytree(folder / "transformer", folder / "transformer_2")
    index = {"transformer_2": ["diffusers", "WanTransformer3DModel"], "boundary_ratio": 0.5}
    (folder / "model_index.json").write_text(json.dumps(index))
    farm = Farm(tmp_path, model=str(folder), environment={"WANFARM_ENGINE": "farm.workers.fake:FakeBackend"})
    farm.environment["WANFARM_CHECKPOINT_STEPS"] = "1"
    yield farm
    farm.stop_all()


@pytest.mark.timeout(400)
def test_faults_of_either_half(fakes: Farm, tmp_path: Path) -> None:
    faults = [
        ("a rank killed once", f"fake:die-once={tmp_path}/HALF", "committed"),
        ("poison", "fake:die", "failed"),
        ("NaN unless tame", "fake:nan-whole", "committed"),
        ("NaN", "fake:nan", "failed"),
    ]
    rows = [
        {"id": f"{name} in {half}", "prompt": prompt.replace("HALF", half), **shape}
        for name, prompt, _ in faults
        for half, shape in (("high", IN_HIGH), ("low", IN_LOW))
    ]
    fakes.write([*rows, *({"id": f"good {n}", "prompt": "a red circle", "seed": n, **IN_HIGH} for n in range(4))])
    code, said = fakes.render("--workers", "2", "--expert-pools", "on")
    assert code == 1, said
    found = {line["id"]: line["status"] for line in fakes.results()}
    ends = {f"{name} in {half}": end for name, _, end in faults for half in ("high", "low")}
    assert found == ends | {f"good {n}": "committed" for n in range(4)}
    assert (tmp_path / "high").exists()
    assert (tmp_path / "low").exists()
    assert {line["error_class"] for line in fakes.results() if line["id"].startswith("poison")} == {"RankLostError"}
    assert not [name for name in fakes.storage.names("state") if name.endswith(".safetensors")]


@pytest.mark.timeout(400)
def test_a_run_that_was_stopped_goes_on_in_the_right_pool(fakes: Farm) -> None:
    shape = {**SMALL, "num_inference_steps": 20, "shift": 1.0}  # half of the steps are each expert's
    rows = [{"id": f"c{n}", "prompt": "a red circle fake:slow=10", "seed": n, **shape} for n in range(4)]
    fakes.write(rows)
    driver = fakes.start_render("--workers", "2", "--expert-pools", "on")
    boundary = handover_step(spec_of(**shape), 0.5)

    def both_are_at_work() -> bool:
        assert driver.poll() is None, finish(driver)[1]
        steps = [int(Path(name).stem[-5:]) for name in fakes.storage.names("state") if name.endswith(".safetensors")]
        return any(step < boundary for step in steps) and any(boundary < step < 16 for step in steps)

    wait_until(both_are_at_work, timeout_s=180, what="a clip in each pool")
    driver.send_signal(signal.SIGTERM)
    code, said = finish(driver, timeout_s=120)
    assert code == 75, said
    code, said = fakes.render("--workers", "2", "--expert-pools", "on")
    assert code == 0, said
    assert len(fakes.committed()) == len(rows)
    records = fakes.records().values()
    assert not any(record["lost_steps"] or record["discarded"] for record in records)
    assert any(step > boundary for record in records for step in record["resumed_at"])


@pytest.mark.timeout(300)
def test_the_plan_says_how_gangs_are_dealt_out(pools: Farm, capsys: pytest.CaptureFixture[str]) -> None:
    pools.write(ROWS[:1])
    code = pools.call("plan", str(pools.manifest), "--model", pools.model, "--expert-pools", "on", "--json", *FLAGS[:2])
    degrees = json.loads(capsys.readouterr().out)["degrees"]
    assert code == 0
    assert degrees["expert_pools"] == {"high": 1, "low": degrees["gangs"] - 1}
    assert any("for the high-noise expert" in reason for reason in degrees["reasons"])


def ranks_of(driver: subprocess.Popen[str]) -> list[tuple[psutil.Process, frozenset[str]]]:
    """Ranks below a driver, each with the experts whose weights it has mapped."""
    found = []
    for child in children_of(driver):
        try:
            if "farm.workers.gang.rank" in child.cmdline():
                folders = {Path(mapped.path).parent.name for mapped in child.memory_maps()}
                found.append((child, EXPERTS & folders))
        except (psutil.Error, OSError):  # it ended just now
            continue
    return found
