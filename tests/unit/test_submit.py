"""What a cluster is told of a run: which one it is, where its manifest lies, which command to run, and that once."""

from __future__ import annotations

import shlex
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from e2e_folders import write_fake_folder

from farm.control import give_command
from farm.errors import AlreadyExistsError, ManifestError, ModelError, RunHeldError, TransientError, UsageError
from farm.ledger import RunLease
from farm.models import chosen_model
from farm.plan import plan_run
from farm.run_facts import card_of, write_card
from farm.settings import Settings
from farm.storage import LocalStorage, MemoryStorage, Storage
from jobs import render as render_module
from jobs import submit as submit_module
from jobs.calls import Asked, Degrees, Execution, RemoteExecution, RenderCall
from jobs.cli import run
from jobs.entry_point import execution_in, over, render_arguments, stop_environment
from jobs.handing_over import hand_over
from jobs.opening import options_of
from jobs.submissions import FarmJob, Taken, job_number, newest_of, take_up

RUN = "0123456789abcdef"


@pytest.fixture
def out(tmp_path: Path) -> MemoryStorage:
    return MemoryStorage(f"bucket-{tmp_path.name}")


def write(path: Path, *lines: str) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))
    return str(path)


PLAIN = '{"prompt": "a red circle"}'


# Which run it is


def test_the_run_is_the_one_that_render_would_make(tmp_path: Path, out: Storage, settings: Settings) -> None:
    manifest = write(tmp_path / "m.jsonl", PLAIN)
    for asked in (Asked(), Asked(seed=3), Asked(codec="av1"), Asked(dtype="bfloat16")):
        handed = hand_over(manifest, out=out, asked=asked, settings=settings)
        plan = plan_run(
            manifest, model=chosen_model("nano", settings), options=options_of(asked), settings=settings, publish=False
        )
        assert handed.run_id == plan.run_id


def test_a_model_that_is_elsewhere_is_told_by_its_fingerprint(tmp_path: Path, out: Storage, settings: Settings) -> None:
    manifest = write(tmp_path / "m.jsonl", PLAIN)
    folder = write_fake_folder(tmp_path / "models" / "fake")
    asked = Asked(model=str(folder))
    here = hand_over(manifest, out=out, asked=asked, settings=settings)
    digest = chosen_model(str(folder), settings).fingerprint
    folder.rename(tmp_path / "gone")
    with pytest.raises(ModelError, match=rf"no run in \S+ tells.*wanfarm inspect {folder} --fingerprint"):
        hand_over(manifest, out=out, asked=asked, settings=settings)
    assert hand_over(manifest, out=out, asked=asked, settings=settings, fingerprint=digest) == here


def test_earlier_runs_of_the_output_tell_a_models_weights(tmp_path: Path, out: Storage, settings: Settings) -> None:
    manifest = write(tmp_path / "m.jsonl", PLAIN)
    folder = write_fake_folder(tmp_path / "models" / "fake")
    asked = Asked(model=str(folder))
    here = hand_over(manifest, out=out, asked=asked, settings=settings)
    plan = plan_run(
        manifest, model=chosen_model(str(folder), settings), options=options_of(asked), settings=settings, out=out
    )
    write_card(out, card_of(plan))
    folder.rename(tmp_path / "gone")
    assert hand_over(manifest, out=out, asked=asked, settings=settings) == here
    other = card_of(plan).model_copy(update={"run_id": "ffff", "model_fingerprint": "0" * 64})
    write_card(out, other)
    with pytest.raises(ModelError, match="2 runs, each with other weights"):
        hand_over(manifest, out=out, asked=asked, settings=settings)


def test_a_cancelled_run_is_not_handed_over(tmp_path: Path, out: Storage, settings: Settings) -> None:
    manifest = write(tmp_path / "m.jsonl", PLAIN)
    run_id = hand_over(manifest, out=out, asked=Asked(), settings=settings).run_id
    give_command(out, run_id, "cancel", by="ann@here")
    with pytest.raises(UsageError, match=r"cancelled by ann@here.*wanfarm resume"):
        hand_over(manifest, out=out, asked=Asked(), settings=settings)


def test_render_refuses_to_be_another_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WANFARM_CACHE", str(tmp_path / "cache"))
    manifest = write(tmp_path / "m.jsonl", PLAIN)
    assert run(["render", manifest, "--out", str(tmp_path / "out"), "--expect-run", RUN]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"not {RUN}" in line
    assert not (tmp_path / "out").exists()


def test_a_folder_of_this_machine_is_named_so_that_others_find_it(
    tmp_path: Path, out: Storage, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = write(tmp_path / "m.jsonl", PLAIN)
    folder = write_fake_folder(tmp_path / "models" / "fake")
    monkeypatch.chdir(tmp_path)
    handed = hand_over(manifest, out=out, asked=Asked(model="models/fake"), settings=settings)
    assert handed.asked.model == str(folder)
    (tmp_path / "nano").mkdir()
    assert hand_over(manifest, out=out, asked=Asked(), settings=settings).asked.model == "nano"


# Where the manifest lies


def test_a_manifest_of_this_machine_is_copied_once(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = LocalStorage(tmp_path / "out")
    manifest = write(tmp_path / "my manifest.jsonl", PLAIN)
    handed = hand_over(manifest, out=out, asked=Asked(), settings=settings)
    assert handed.manifest.endswith("/my-manifest.jsonl")
    assert Path(handed.manifest).read_bytes() == Path(manifest).read_bytes()
    written = Path(handed.manifest).stat().st_mtime_ns
    monkeypatch.chdir(tmp_path)
    assert hand_over("my manifest.jsonl", out=out, asked=Asked(), settings=settings) == handed
    assert Path(handed.manifest).stat().st_mtime_ns == written
    assert hand_over(handed.manifest, out=out, asked=Asked(), settings=settings).run_id == handed.run_id


def test_of_several_files_the_order_is_kept(tmp_path: Path, settings: Settings) -> None:
    out = LocalStorage(tmp_path / "out")
    for name in ("z.jsonl", "a/y.jsonl", "_SUCCESS"):
        write(tmp_path / "parts" / name, f'{{"prompt": "{name}"}}')
    handed = hand_over(str(tmp_path / "parts"), out=out, asked=Asked(), settings=settings)
    assert [path.name for path in sorted(Path(handed.manifest).iterdir())] == ["00000-y.jsonl", "00001-z.jsonl"]
    assert hand_over(handed.manifest, out=out, asked=Asked(), settings=settings).run_id == handed.run_id


def test_inputs_beside_a_manifest_of_this_machine(tmp_path: Path, out: Storage, settings: Settings) -> None:
    absolute = '{"prompt": "x", "image": "s3://bucket/cat.png"}'
    relative = write(tmp_path / "m.jsonl", absolute, '{"prompt": "x", "image": "cats/cat.png"}')
    with pytest.raises(ManifestError, match=r"row 1 of .*m\.jsonl names its image 'cats/cat\.png' relative"):
        hand_over(relative, out=out, asked=Asked(), settings=settings)
    assert not list(out.names())
    # A folder that all nodes share may well hold the manifest too: it is not moved away from its inputs.
    shared = LocalStorage(tmp_path / "out")
    assert hand_over(relative, out=shared, asked=Asked(), settings=settings).manifest == relative
    copied = hand_over(write(tmp_path / "n.jsonl", absolute), out=out, asked=Asked(), settings=settings).manifest
    assert copied.startswith(f"{out.uri}/manifests/")


# The command


@dataclass
class Called:
    calls: list[RenderCall] = field(default_factory=list)

    def __call__(self, call: RenderCall) -> int:
        self.calls.append(call)
        return 0


def test_the_command_says_what_the_call_said(monkeypatch: pytest.MonkeyPatch) -> None:
    called = Called()
    monkeypatch.setattr(render_module, "render_manifest", called)
    asked = Asked(model="/models/my model", dtype="bfloat16", seed=-5, strict=True, profile="diffusers")
    degrees = Degrees(ulysses_degree=4, cfg_degree=2, goal="latency", expert_pools="off")
    execution = RemoteExecution(address="http://head:8265", threads=2, grace=60, gpus=8, degrees=degrees)
    arguments = render_arguments(
        "s3://b/it's $HOME.parquet", out="s3://b/out", run_id=RUN, asked=asked, execution=execution, max_failed="2%"
    )
    program, *rest = shlex.split(shlex.join(arguments))
    assert (program, run(rest)) == ("wanfarm", 0)
    (call,) = called.calls
    assert (call.manifest, call.out, call.asked) == ("s3://b/it's $HOME.parquet", "s3://b/out", asked)
    assert call.execution == Execution(address="auto", threads=2, grace=60, gpus=8, degrees=degrees)
    assert (call.max_failed.percent, call.expect_run) == (2, RUN)


def test_a_driver_gets_its_grace_from_ray() -> None:
    seconds = {grace: int(stop_environment(Execution(grace=grace))["RAY_JOB_STOP_WAIT_TIME_S"]) for grace in (0.5, 600)}
    assert seconds[0.5] > 30
    assert seconds[600] > 630


def test_a_templates_command_tells_how_its_cluster_is_used() -> None:
    told = execution_in(
        "wanfarm render m --out o --model x --gpus 32 --address auto --ulysses-degree=4 --max-failed 1%"
    )
    assert told == Execution(gpus=32, address="auto", degrees=Degrees(ulysses_degree=4))
    given = RemoteExecution(grace=60, degrees=Degrees(ulysses_degree=2, goal="latency"))
    wanted = over(given, told)
    assert (wanted.gpus, wanted.grace) == (32, 60)
    assert wanted.degrees == Degrees(ulysses_degree=2, goal="latency")


# Once


@dataclass
class FakeCluster:
    """Names are given once. `meanwhile` is what others do between a look and a submission."""

    jobs: dict[str, str] = field(default_factory=dict)
    meanwhile: list[dict[str, str]] = field(default_factory=list)
    is_broken: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)

    def jobs_of(self, run_id: str) -> Sequence[FarmJob]:
        with self.lock:
            found = list(self.jobs.items())
        return [FarmJob(name=name, status=state, is_unfinished=state == "RUNNING") for name, state in found]

    def create(self, name: str) -> None:
        if self.is_broken:
            raise TransientError("the cluster is away")
        with self.lock:
            self.jobs.update(self.meanwhile.pop(0) if self.meanwhile else {})
            if name in self.jobs:
                raise AlreadyExistsError("create", name)
            self.jobs[name] = "RUNNING"


def test_a_job_follows_those_that_ended() -> None:
    cluster = FakeCluster({f"farm-{RUN}-9": "FAILED", f"farm-{RUN}-10-x7abc": "STOPPED"})
    assert take_up(cluster, RUN) == Taken(name=f"farm-{RUN}-11", status="PENDING", was_there=False)
    assert take_up(cluster, RUN) == Taken(name=f"farm-{RUN}-11", status="RUNNING", was_there=True)


def test_names_of_other_runs_are_not_counted() -> None:
    assert job_number("farm-0123-7", RUN) is None
    assert job_number(f"farm-{RUN}-", RUN) is None
    assert job_number(f"farm-{RUN}0-7", RUN) is None
    assert newest_of([], RUN) is None


def test_who_comes_second_finds_the_first() -> None:
    cluster = FakeCluster(meanwhile=[{f"farm-{RUN}-1": "RUNNING"}])
    assert take_up(cluster, RUN) == Taken(name=f"farm-{RUN}-1", status="RUNNING", was_there=True)
    ended = FakeCluster(meanwhile=[{f"farm-{RUN}-1": "FAILED"}])
    assert take_up(ended, RUN).name == f"farm-{RUN}-2"


def test_of_many_at_once_one_submits() -> None:
    cluster = FakeCluster()
    with ThreadPoolExecutor(16) as pool:
        taken = list(pool.map(lambda _: take_up(cluster, RUN), range(64)))
    assert cluster.jobs == {f"farm-{RUN}-1": "RUNNING"}
    assert [job.was_there for job in taken].count(False) == 1


def test_a_cluster_that_refuses_for_other_reasons_is_heard() -> None:
    with pytest.raises(TransientError, match="away"):
        take_up(FakeCluster(is_broken=True), RUN)


def test_a_run_that_something_else_drives_is_not_submitted(out: Storage) -> None:
    with RunLease(out, RUN), pytest.raises(RunHeldError, match="by no job of this cluster"):
        submit_module._take_up(FakeCluster(), RUN, out)
    assert not submit_module._take_up(FakeCluster(), RUN, out).was_there


def test_the_driver_of_a_running_job_is_no_obstacle(out: Storage) -> None:
    with RunLease(out, RUN):
        assert submit_module._take_up(FakeCluster({f"farm-{RUN}-1": "RUNNING"}), RUN, out).was_there


# Wrong calls


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ([], "http://HEAD:8265"),
        (["--address", "auto"], "not 'auto'"),
        (["--address", "ray://head:10001"], "not 'ray://head:10001'"),
        (["--address", "http://127.0.0.1:1"], "no Jobs API of Ray answers at http://127.0.0.1:1"),
        (["--address", "http://127.0.0.1:port"], "no Jobs API of Ray answers"),
        (["--address", "http://h:1", "--kube", "x.yaml"], "either --address or --kube"),
        (["--kube-apply"], "go with --kube"),
        (["--namespace", "farm"], "go with --kube"),
        (["--address", "http://h:1", "--max-failed", "some"], "--max-failed"),
        (["--address", "http://h:1", "--gpus", "0"], "--gpus"),
        (["--kube", "/nowhere.yaml"], "--kube cannot read /nowhere.yaml"),
    ],
)
def test_a_wrong_call_is_one_line(
    flags: list[str], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("RAY_API_SERVER_ADDRESS", raising=False)
    manifest: Any = write(tmp_path / "m.jsonl", PLAIN)
    assert run(["submit", manifest, "--out", str(tmp_path / "out"), *flags]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert says in line
    assert not (tmp_path / "out").exists()
