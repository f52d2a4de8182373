"""The command's surface is frozen: flags may be added here, never removed. Help is short, and there at once."""

from __future__ import annotations

import subprocess
import sys

import pytest

from jobs.cli import app, run

ASKED = {"--model", "--profile", "--codec", "--dtype", "--seed", "--strict", "--keep-columns"}
DEGREES = {"--ulysses-degree", "--cfg-degree", "--hosts-per-gang", "--goal", "--expert-pools"}
EXECUTION = {"--threads", "--workers", "--address", "--grace", "--gpus", "--metrics-port", *DEGREES}
FLAGS: dict[str, set[str]] = {
    "render": {"--out", "--max-failed", "--expect-run", *ASKED, *EXECUTION},
    "submit": {
        "--out",
        "--max-failed",
        "--fingerprint",
        "--kube",
        "--kube-apply",
        "--namespace",
        "--json",
        *ASKED,
        *EXECUTION,
    },
    "validate": {"--json", *ASKED},
    "plan": {"--out", "--device", "--devices", "--json", *ASKED, *DEGREES},
    "status": {"--json"},
    "watch": {"--run", "--address", "--max-failed", "--json"},
    "pause": {"--run"},
    "resume": {"--run"},
    "cancel": {"--run"},
    "retry": {"--failed", "--clip", "--here", *EXECUTION},
    "verify": {"--rerender", "--json"},
    "trace": {"--run", "--all", "--out"},
    "serve": {
        "--out",
        "--model",
        "--port",
        "--host",
        "--no-auth",
        "--insecure",
        "--config",
        "--check",
        "--threads",
        "--workers",
        "--metrics-port",
    },
    "keys create": {
        "--name",
        "--project",
        "--scope",
        "--max-open-jobs",
        "--requests-per-minute",
        "--max-device-seconds",
        "--weight",
        "--expires-days",
        "--json",
    },
    "keys list": {"--json"},
    "keys revoke": set(),
    "sample-manifest": {"--model", "--rows"},
    "models": {"--json"},
    "inspect": {"--fingerprint", "--json"},
}
SCREEN_LINES = 50


def flags_of(command: str) -> set[str]:
    found = app
    for name in command.split():
        found = found[name]
    arguments = found.assemble_argument_collection(default_parameter=app.default_parameter)
    return {name for argument in arguments for name in argument.names if name.startswith("--")}


def test_commands() -> None:
    named = {name for name in app if not name.startswith("-")} - {"keys"}
    assert set(FLAGS) == named | {f"keys {name}" for name in app["keys"] if not name.startswith("-")}


@pytest.mark.parametrize("command", FLAGS)
def test_flags(command: str) -> None:
    assert flags_of(command) == FLAGS[command]


@pytest.mark.parametrize("command", ["", *FLAGS])
def test_help_fits_a_screen(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*command.split(), "--help"]) == 0
    assert len(capsys.readouterr().out.splitlines()) <= SCREEN_LINES


HEAVY = ("ray", "torch", "pyarrow", "av", "pydantic", "fsspec", "numpy", "transformers")


def test_help_imports_nothing_heavy() -> None:
    program = (
        "import sys; from jobs.cli import run; assert run(['--help']) == 0; "
        f"print(sorted(set({HEAVY!r}) & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["render", "m.parquet"], "--out"),
        (["render", "m.parquet", "--out", "o", "--colour", "red"], "--colour"),
        (["render", "m.parquet", "--out", "o", "--profile", "mine"], "profile"),
        (["render", "m.parquet", "--out", "o", "--max-failed", "some"], "--max-failed"),
        (["retry", "o"], "--failed or --clip"),
        (["retry", "o", "--failed", "--clip", "x"], "--failed or --clip"),
        (["no-command"], "no-command"),
        (["status", "/nowhere/at/all"], "nothing was ever rendered"),
        (["verify", "/nowhere/at/all"], "nothing was ever rendered"),
        (["pause", "/nowhere/at/all"], "nothing was ever rendered"),
        (["trace", "/nowhere/at/all"], "nothing was ever rendered"),
        (["trace", "/nowhere/at/all", "--run", "x", "--all"], "either --run ID or --all"),
        (["render", "m.parquet", "--out", "o", "--cfg-degree", "3"], "cfg-degree"),
        (["render", "m.parquet", "--out", "o", "--goal", "fame"], "goal"),
        (["render", "m.parquet", "--out", "o", "--metrics-port", "65535"], "--metrics-port"),
        (["render", "m.parquet", "--out", "o", "--expert-pools", "three"], "expert-pools"),
        (["keys", "create", "/nowhere"], "--name"),
        (["keys", "create", "/nowhere", "--name", "x", "--scope", "root"], "--scope"),
        (["keys", "create", "/nowhere", "--name", "x", "--weight", "0"], "weight"),
        (["keys", "create", "/nowhere", "--name", "x", "--project", "../x"], "project"),
        (["keys", "revoke", "/nowhere", "key_1"], "no key"),
        (["validate", "/nowhere.parquet", "--model", "/no/model"], "/no/model"),
    ],
)
def test_a_wrong_call_is_one_line_and_exit_code_2(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("wanfarm: ")
    assert says in line
