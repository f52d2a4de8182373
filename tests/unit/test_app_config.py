"""Configurations of online applications: what is refused, in which words, and what the examples say."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from deployments import config as config_package
from deployments.config import AppConfig
from deployments.config.serve_file import parse_serve_file, serve_values
from farm.errors import UsageError

EXAMPLES = sorted(Path(config_package.__file__).parent.glob("*.yaml"))
NANO: dict[str, Any] = {"out": "/data", "models": [{"model": "nano"}]}


def refusal(call: Callable[[], object]) -> str:
    with pytest.raises(UsageError) as caught:
        call()
    return str(caught.value)


def test_all_faults_are_named_at_once_with_the_nearest_key() -> None:
    wrong = {
        "models": [{"model": "nano", "ulyses_degree": 2, "scaling": {"min_replica": 1, "max_replicas": 0}}],
        "dispatchr": {},
    }

    said = refusal(lambda: AppConfig.parse(wrong, where="args"))

    assert said.split("; ") == [
        "args.out: Field required",
        "args.models[0].scaling.max_replicas: Input should be greater than or equal to 1",
        "args.models[0].scaling.min_replica: unknown (did you mean min_replicas?)",
        "args.models[0].ulyses_degree: unknown (did you mean ulysses_degree?)",
        "args.dispatchr: unknown (did you mean dispatcher?)",
    ]


@pytest.mark.parametrize(
    ("models", "said"),
    [
        ([], "models: Tuple should have at least 1 item"),
        ([{"model": "nano"}, {"model": "nano"}], "named more than once: nano"),
        ([{"model": "nano", "scaling": {"min_replicas": 3, "max_replicas": 2}}], "less than min_replicas (3)"),
        ([{"model": "nano", "ulysses_degree": 3, "hosts_per_gang": 2}], "3 ranks are not to be spread evenly"),
        ([{"model": "nano", "cfg_degree": 3}], "models[0].cfg_degree: Input should be 1 or 2"),
        ([{"model": "nano", "scaling": {"target_backlog_s": float("nan")}}], "target_backlog_s"),
    ],
)
def test_what_cannot_be_is_refused(models: list[dict[str, Any]], said: str) -> None:
    assert said in refusal(lambda: AppConfig.parse({"out": "/data", "models": models}))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_examples_are_without_faults(path: Path) -> None:
    found = parse_serve_file(path.read_text(), source=path.name)

    assert list(found.applications) == ["wanfarm"]


def test_a_configuration_survives_its_way_through_serve() -> None:
    config = AppConfig.parse(
        {"out": "s3://b/p", "models": [{"model": "/m", "device": "nvidia-h100", "ulysses_degree": 4}]}
    )

    text = yaml.safe_dump(serve_values(config, host="127.0.0.1", port=8000))

    assert parse_serve_file(text, source="here").applications == {"wanfarm": config}


def file_with(*changes: tuple[str, str]) -> str:
    text = yaml.safe_dump(serve_values(AppConfig.parse(NANO), host="127.0.0.1", port=8000))
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return text


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("proxy_location", "proxy_locaton"), "proxy_locaton: unknown (did you mean proxy_location?)"),
        (("  port:", "  prt:"), "http_options.prt: unknown (did you mean port?)"),
        (("route_prefix", "routeprefix"), "applications[0].routeprefix: unknown (did you mean route_prefix?)"),
        (("model: nano", "mdel: nano"), "applications[0].args.models[0].mdel: unknown (did you mean model?)"),
        (("BacklogPolicy", "Backlog"), "without it no gang ever starts"),
        (("deployments.app:build", "deployments.app:bild"), "no application's import_path is deployments.app:build"),
        (("port: 8000", "port: many"), "http_options.port: "),
        (("port: 8000", "port: 8000\n  port: 9000"), "port: stands twice"),
        (("port: 8000", "port: [8000"), "is not YAML"),
    ],
)
def test_a_serve_files_typos_are_named(change: tuple[str, str], said: str) -> None:
    assert said in refusal(lambda: parse_serve_file(file_with(change), source="app.yaml"))


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("{name: rendrer-nano}", "deployments[0].name: rendrer-nano: unknown (did you mean renderer-nano?)"),
        ("{name: dispatcher, num_replicas: 2}", "deployments[0].num_replicas: not for dispatcher"),
        ("{name: renderer-nano, num_replicas: 2}", "deployments[0].num_replicas: not for renderer-nano"),
        ("{name: api, ray_actor_options: {num_cpu: 1}}", "ray_actor_options.num_cpu: unknown (did you mean num_cpus?)"),
        ("{name: api, logging_config: {log_lev: INFO}}", "logging_config.log_lev: unknown (did you mean log_level?)"),
    ],
)
def test_overrides_of_deployments_are_checked(override: str, said: str) -> None:
    text = file_with(("  route_prefix: /", f"  route_prefix: /\n  deployments: [{override}]"))

    assert said in refusal(lambda: parse_serve_file(text, source="app.yaml"))


def test_an_override_that_is_right_is_taken() -> None:
    text = file_with(("  route_prefix: /", "  route_prefix: /\n  deployments: [{name: api, num_replicas: 3}]"))

    assert parse_serve_file(text, source="app.yaml").applications


@pytest.mark.parametrize("text", ["", "[]", "just words"])
def test_a_file_that_is_no_configuration_is_refused(text: str) -> None:
    assert "holds no Serve configuration" in refusal(lambda: parse_serve_file(text, source="app.yaml"))
