"""Calls of `wanfarm serve` that cannot be carried out end before Ray begins, in one line."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
import yaml

from deployments.config import AppConfig
from deployments.config.serve_file import serve_values
from farm.keys import KeyStore
from farm.models import NANO_CARD
from farm.settings import Settings
from farm.storage import open_storage
from jobs import serve
from jobs.cli import run
from jobs.fleet import Machine
from jobs.serve_layout import arguments_here

GIB = 2**30


@pytest.fixture(autouse=True)
def _no_ray(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("Ray was started")

    monkeypatch.setattr(serve, "ray_session", refuse)
    monkeypatch.setenv("WANFARM_CACHE", str(tmp_path / "cache"))


def complaint(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert run(["serve", *arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_a_port_that_is_taken(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = complaint(capsys, "--port", str(port), "--out", str(tmp_path / "out"))

    assert f"port {port} on 127.0.0.1 is taken: choose another with --port" in said
    assert not list((tmp_path / "out").glob("*"))  # no key was made that nobody was told of


def test_an_address_that_is_not_ours(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    said = complaint(capsys, "--host", "203.0.113.7", "--port", "0", "--out", str(tmp_path / "out"))

    assert "on 203.0.113.7 cannot be had" in said


def test_an_output_that_cannot_be_written(capsys: pytest.CaptureFixture[str]) -> None:
    assert "/proc/nowhere cannot be written" in complaint(capsys, "--port", "0", "--out", "/proc/nowhere")


def test_no_such_model(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    said = complaint(capsys, "--port", "0", "--out", str(tmp_path / "out"), "--model", "wan9")

    assert "no model 'wan9'" in said
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "farm.example.org"])
def test_no_keys_where_strangers_come(capsys: pytest.CaptureFixture[str], tmp_path: Path, host: str) -> None:
    said = complaint(capsys, "--no-auth", "--host", host, "--port", "0", "--out", str(tmp_path / "out"))

    assert "--no-auth would let everybody" in said
    assert "--insecure" in said


@pytest.mark.parametrize(("flag", "value"), [("--threads", "0"), ("--workers", "0"), ("--metrics-port", "70000")])
def test_counts_that_cannot_be(capsys: pytest.CaptureFixture[str], tmp_path: Path, flag: str, value: str) -> None:
    assert flag in complaint(capsys, flag, value, "--port", "0", "--out", str(tmp_path / "out"))


def serve_file(folder: Path, **changes: object) -> Path:
    config = AppConfig.parse({"out": str(folder / "out"), "models": [{"model": "nano"}]})
    path = folder / "app.yaml"
    path.write_text(yaml.safe_dump(serve_values(config, host="127.0.0.1", port=0) | changes))
    return path


def test_a_file_without_faults_is_only_checked(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = serve_file(tmp_path)

    assert run(["serve", "--check", str(path)]) == 0
    assert capsys.readouterr().out == f"{path}: no faults (nano)\n"
    assert not (tmp_path / "out").exists()


def test_a_files_faults_are_named(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = serve_file(tmp_path, proxy_locaton="HeadOnly")

    assert "proxy_locaton: unknown (did you mean proxy_location?)" in complaint(capsys, "--check", str(path))
    assert "proxy_locaton: unknown" in complaint(capsys, "--config", str(path))
    assert "cannot be read" in complaint(capsys, "--check", str(tmp_path / "no.yaml"))


def test_a_file_names_its_models(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert "--model or --config" in complaint(capsys, "--config", str(serve_file(tmp_path)), "--model", "nano")


def test_the_first_key_is_made_once(tmp_path: Path) -> None:
    keys = KeyStore(open_storage(str(tmp_path)))

    secret = serve._first_key(keys)

    assert secret is not None
    found = keys.find(secret)
    assert found is not None
    assert "admin" in found.scopes
    assert serve._first_key(keys) is None


@pytest.mark.parametrize(
    ("num_cpus", "num_gpus", "expected"),
    [
        (1, 0, {"device": "cpu", "threads": 1, "max_replicas": 1}),
        (8, 0, {"device": "cpu", "threads": 1, "max_replicas": 8}),
        (64, 8, {"device": "nvidia-h100", "threads": 8, "max_replicas": 8}),
    ],
)
def test_a_machine_is_filled_with_gangs(num_cpus: int, num_gpus: int, expected: dict[str, object]) -> None:
    machine = Machine(
        num_nodes=1,
        num_cpus=num_cpus,
        num_gpus=num_gpus,
        memory_bytes=64 * GIB,
        device="nvidia-h100" if num_gpus else "cpu",
        devices_per_node=num_gpus or num_cpus,
    )

    arguments = arguments_here(["nano"], out="/out", machine=machine, settings=Settings(), threads=None, workers=None)

    (model,) = AppConfig.parse(arguments).models
    scaling = model.scaling
    assert {"device": model.device, "threads": model.threads, "max_replicas": scaling.max_replicas} == expected
    assert scaling.min_replicas == 1
    # All of it fits at once: gangs, and the processes that book nothing.
    assert (model.num_cpus or 0) * scaling.max_replicas <= num_cpus
    assert NANO_CARD.name == model.model
