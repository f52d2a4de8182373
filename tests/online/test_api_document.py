"""The OpenAPI document, and that the API keeps to it whatever it is sent (schemathesis)."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator
from online_farm import OnlineFarm

from deployments.api.settings import ApiSettings, LimitSettings
from farm.queue.job import JobFault

RUN_S = 120.0


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OnlineFarm]:
    limits = LimitSettings(requests_per_minute=1_000_000, max_open_jobs=1_000_000)
    with OnlineFarm.start(tmp_path_factory.mktemp("document") / "out", api=ApiSettings(limits=limits)) as started:
        yield started


def schemathesis(farm: OnlineFarm, folder: Path, *, config: str = "", leave_out: Sequence[str]) -> None:
    """Run it over the document. What a model can make is no matter of a schema, so valid data may be refused."""
    settings = folder / "schemathesis.toml"
    settings.write_text(config)
    key = farm.key("default", scopes=("submit", "read", "admin"))
    command = [
        str(Path(sys.executable).with_name("schemathesis")), "--config-file", str(settings), "run",
        f"{farm.base_url}/openapi.json",
        "--phases", "examples,coverage,fuzzing", "--max-examples", "15", "--seed", "1", "--request-timeout", "20",
        "--exclude-checks", "positive_data_acceptance", "--no-color", "-H", f"Authorization: Bearer {key}",
        *(argument for name in leave_out for argument in ("--exclude-operation-id", name)),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=RUN_S, cwd=folder, check=False)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    assert "Test cases:" in done.stdout


def test_no_fault_of_ours_and_no_answer_outside_the_schema(farm: OnlineFarm, tmp_path: Path) -> None:
    """All operations, with made-up data. Its own key is not to be revoked, nor its sessions."""
    schemathesis(farm, tmp_path, leave_out=["revoke_key"])


@pytest.mark.parametrize("status", ["completed", "failed", "queued"])
def test_the_same_on_videos_that_are_there(farm: OnlineFarm, tmp_path: Path, status: str) -> None:
    with farm.client(farm.key("default", scopes=("submit", "read", "admin"))) as client:
        job_id = client.post("/v1/videos", json={"prompt": "a red ball"}).json()["id"]
    if status == "completed":
        farm.finish(job_id)
    elif status == "failed":
        farm.fail(job_id, JobFault(code="not_finite", message="NaN"))
    elsewhere = [
        "revoke_key", "delete_video", "create_key", "list_keys", "list_models", "retrieve_model", "list_runs",
        "healthz", "readyz", "show_session", "sign_in", "sign_out", "show_queue", "pause_queue", "resume_queue",
        "create_video", "list_videos", "create_extension",
    ]  # fmt: skip
    endless = ["follow_video", "cancel_video"] if status == "queued" else []
    config = f'[parameters]\n"path.video_id" = "{job_id}"\n'
    schemathesis(farm, tmp_path, config=config, leave_out=[*elsewhere, *endless])


def test_each_operation_has_examples_and_the_error_shape(farm: OnlineFarm) -> None:
    document = farm.client().get("/openapi.json").json()
    operations = [
        (f"{method} {path}", operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    assert len(operations) == 27
    assert len({operation["operationId"] for _, operation in operations}) == 27
    for name, operation in operations:
        assert operation["summary"], name
        assert operation["responses"]["4XX"]["content"]["application/json"]["schema"]["$ref"].endswith("/ErrorAnswer")
        answers = operation["responses"].get("200", {}).get("content", {})
        if "application/json" in answers:
            assert "example" in answers["application/json"], name
        for content in operation.get("requestBody", {}).get("content", {}).values():
            assert {"example", "examples", "schema"} & content.keys(), name
        asked = operation.get("requestBody", {}).get("content", {}).get("application/json")
        assert asked is None or {"example", "examples"} & asked.keys(), name


def test_the_examples_are_what_the_schemas_say(farm: OnlineFarm) -> None:
    document = farm.client().get("/openapi.json").json()
    for methods in document["paths"].values():
        for operation in methods.values():
            contents = [answer.get("content", {}) for answer in operation["responses"].values()]
            contents.append(operation.get("requestBody", {}).get("content", {}))
            for content in contents:
                described = content.get("application/json", {})
                if "example" in described:
                    schema_of = {**described["schema"], "components": document["components"]}
                    Draft202012Validator(schema_of).validate(described["example"])
