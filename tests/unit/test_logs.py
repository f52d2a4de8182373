"""Logs: one line an event, with its circumstances, and without anybody's secrets."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from contextvars import copy_context
from pathlib import Path
from typing import Any

import pytest
from gang_orders import PLAN, frames_of, order_of
from scripted_logs import LogReader, log_reader
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route
from starlette.testclient import TestClient

from deployments.api.guard import Guard
from farm import logs
from farm.logs import LogSetup, begin_logs, current_setup, fields, log_context
from farm.parallelism import ParallelPlan
from farm.settings import Settings
from farm.workers.engine import ModelPlan
from farm.workers.gang import Gang
from jobs.printing import complain
from jobs.progress import Tally, progress_display
from jobs.worker_logs import WorkerLogs, forwarded

LOG = logging.getLogger("farm.example")
KEY = "wf_" + "k" * 43


@pytest.fixture
def read() -> Iterator[LogReader]:
    with log_reader() as reader:
        yield reader


def test_a_line_is_an_object_with_all_that_is_known(read: LogReader) -> None:
    read.begin(run_id="r1", model="nano", clip_id=None)
    with log_context(clip_id="c1", attempt=1), log_context(attempt=2):
        LOG.info("clip committed", extra=fields(seconds=1.5, stages={"denoise": 1.0}, step=None))
    LOG.info("run ended")
    first, second = read.lines()
    assert first.pop("time").endswith("Z")
    assert first == {
        "level": "info", "logger": "farm.example", "message": "clip committed", "run_id": "r1", "model": "nano",
        "clip_id": "c1", "attempt": 2, "seconds": 1.5, "stages": {"denoise": 1.0},
    }  # fmt: skip
    assert "clip_id" not in second
    assert second["run_id"] == "r1"


def test_a_traceback_stays_in_its_line(read: LogReader) -> None:
    read.begin()
    try:
        raise ValueError("two\nlines")
    except ValueError:
        LOG.exception("it failed")
    (line,) = read.lines()
    assert "ValueError: two\nlines" in line["exception"]


def test_context_goes_with_what_is_handed_to_a_thread(read: LogReader) -> None:
    read.begin()
    with log_context(job_id="j1"):
        thread = threading.Thread(target=copy_context().run, args=(LOG.info, "from a thread"))
        thread.start()
        thread.join()
    assert read.lines()[0]["job_id"] == "j1"


@pytest.mark.parametrize(
    ("settings", "shown"),
    [
        (Settings(), ["warning"]),
        (Settings(log="json"), ["info", "warning"]),
        (Settings(log="json", log_level="error"), []),
        (Settings(log_level="debug"), ["debug", "info", "warning"]),
    ],
)
def test_levels(read: LogReader, settings: Settings, shown: list[str]) -> None:
    stream = read.stream
    begin_logs(LogSetup.of(settings), stream=stream)
    for level in (logging.DEBUG, logging.INFO, logging.WARNING):
        LOG.log(level, "said")
        logging.getLogger("somebody.else").log(level, "said, too")
    own = [line for line in stream.getvalue().splitlines() if "farm.example" in line]
    assert [level for level in ("debug", "info", "warning") if any(level in line for line in own)] == shown
    others = [line for line in stream.getvalue().splitlines() if "somebody.else" in line]
    assert len(others) == 1
    assert "warning" in others[0]


def test_as_text_fields_follow_the_message(read: LogReader) -> None:
    begin_logs(LogSetup(context={"run_id": "r1"}), stream=read.stream)
    LOG.warning("gang broken", extra=fields(error="rank 1 was killed", degree=2))
    assert read.stream.getvalue().endswith(
        ' warning farm.example: gang broken run_id=r1 error="rank 1 was killed" degree=2\n'
    )


SECRET = "hush/hush+hush=="
OPTIONS = {"s3": {"key": "AKIDEXAMPLE", "secret": SECRET, "endpoint_url": "http://store:9000"}}


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        (f"cannot sign with {SECRET}", SECRET),
        ("signed by AKIDEXAMPLE", "AKIDEXAMPLE"),
        ("GET https://b.s3.aws/c.mp4?X-Amz-Credential=A%2Fus&X-Amz-Signature=abcdef&x=1", "abcdef"),
        ("GET /v1/videos/v/content?variant=video&expires=1&signature=0123456789", "0123456789"),
        ("https://me:pass-word@store/bucket", "pass-word"),
        (f"Authorization: Bearer {KEY}", KEY),
        (f"key {KEY} is revoked", KEY),
        ("x-amz-security-token: abc123", "abc123"),
        ("{'aws_secret_access_key': 'abc123'}", "abc123"),
        ('{"session_token": "abc123"}', "abc123"),
        (r'body: "{\"session_token\": \"abc123\"}"', "abc123"),
        ("WANFARM_TOKEN=abc123 wanfarm serve", "abc123"),
        ("AKIAABCDEFGHIJKLMNOP", "AKIAABCDEFGHIJKLMNOP"),
    ],
)
@pytest.mark.parametrize("log", ["json", "text"])
def test_no_secret_is_written(read: LogReader, text: str, hidden: str, log: Any) -> None:
    setup = LogSetup.of(Settings(log=log, log_level="debug", storage_options=OPTIONS), origin=text)
    begin_logs(setup, stream=read.stream)
    LOG.info("%s", text)
    LOG.info("event", extra=fields(uri=text, deep={"list": [text], "secret": hidden}))
    with log_context(error=text):
        try:
            raise ValueError(text)
        except ValueError:
            LOG.exception("event")
    said = read.stream.getvalue()
    assert hidden not in said
    assert logs.BLOT in said


@pytest.mark.parametrize(
    "text", ["the prompt has 600 tokens: cut at 512", "key_0123456789abcdef", "s3://bucket/a?versionId=1", "a=b c: d"]
)
def test_innocent_words_stay(read: LogReader, text: str) -> None:
    read.begin()
    LOG.info("%s", text)
    assert read.lines()[0]["message"] == text


def test_words_of_strangers_take_no_time(read: LogReader) -> None:
    read.begin()
    begun_s = time.monotonic()
    for text in ("a_" * 4000, "a-" * 4000, "_" * 8000, "token" * 1600, "secret_access_" * 600, "://a:" * 1600):
        LOG.info("said", extra=fields(said=text))
    assert [line["message"] for line in read.lines()] == ["said"] * 6
    assert time.monotonic() - begun_s < 5


def test_prompts_are_for_debuggers_alone(read: LogReader) -> None:
    read.begin(level="debug")
    for level in (logging.INFO, logging.DEBUG):
        LOG.log(level, "clip asks for", extra=fields(prompt="my own words", negative_prompt="none of these", seed=1))
    quiet, loud = read.lines()
    assert "prompt" not in quiet
    assert "negative_prompt" not in quiet
    assert loud["prompt"] == "my own words"


def test_a_setup_travels_on_a_command_line_without_its_secrets() -> None:
    setup = LogSetup.of(Settings(log="json", storage_options=OPTIONS), run_id="r1")
    assert SECRET in setup.secrets
    assert SECRET not in setup.to_argument()
    assert SECRET not in repr(setup)
    again = LogSetup.from_argument(setup.to_argument())
    assert (again.format, again.level, dict(again.context)) == ("json", "info", {"run_id": "r1"})


def test_complaints_and_progress_are_events_where_json_is_asked_for(read: LogReader) -> None:
    read.begin()
    complain("the manifest\nis empty")
    tally = Tally(total=1, done=0, failed=0)
    with progress_display() as display:
        tally.add(has_failed=False)
        display.tick(tally)
        display.note("SIGTERM")
    wrong, counts, note = read.lines()
    assert (wrong["level"], wrong["message"]) == ("error", "the manifest is empty")
    assert (counts["message"], counts["done"], counts["clips"]) == ("run progress", 1, 1)
    assert note["message"] == "SIGTERM"


@pytest.mark.usefixtures("read")
def test_ranks_write_where_their_leader_does(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    begin_logs(LogSetup(format="json", level="debug", context={"run_id": "r1", "worker": "here:1"}))
    plan = ModelPlan(**PLAN, parallel=ParallelPlan(ulysses_degree=2))
    with closing(Gang(plan, backend="farm.workers.fake:FakeBackend", folder=tmp_path)) as gang:
        order = order_of()
        frames_of(gang, order)
    said = [json.loads(line) for line in capfd.readouterr().err.splitlines() if line.startswith("{")]
    ready = [line for line in said if line["message"] == "rank ready"]
    assert {line["rank"] for line in ready} == {0, 1}
    assert {(line["run_id"], line["worker"], line["role"]) for line in ready} == {("r1", "here:1", "rank")}
    begun = [line for line in said if line["message"] == "rank begins"]
    assert {(line["rank"], line["clip_id"]) for line in begun} == {(0, order.spec.clip_id), (1, order.spec.clip_id)}
    (up,) = [line for line in said if line["message"] == "gang ready"]
    assert (up["degree"], up["device"]) == (2, "fake")
    assert "rank" not in current_setup().context


@pytest.mark.parametrize(("path", "level"), [("/broken", "error"), ("/busy", "warning"), ("/well", None)])
def test_requests_that_we_could_not_answer_are_told_with_their_id(
    read: LogReader, path: str, level: str | None
) -> None:
    def answer(request: Any) -> Response:
        if path == "/broken":
            raise RuntimeError("a bug")
        return Response(status_code=503 if path == "/busy" else 200)

    app = Starlette(routes=[Route(path, answer)])
    app.add_middleware(Guard, hosts=None)
    read.begin()
    reply = TestClient(app, raise_server_exceptions=False).get(f"{path}?signature=hush")
    lines = read.lines()
    assert [line["level"] for line in lines][:1] == ([] if level is None else [level])
    for line in lines:
        assert (line["request_id"], line["path"], line["method"]) == (reply.headers["x-request-id"], path, "GET")
    assert "hush" not in read.stream.getvalue()


def test_workers_events_come_to_the_driver_whole_and_once(
    tmp_path: Path, read: LogReader, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "session_2026-01-01" / "logs"
    folder.mkdir(parents=True)
    file = folder / "worker-1.err"
    worker_logs = WorkerLogs(tmp_path)
    file.write_text('{"time": 1}\nRay said something\n{"time": 2')
    worker_logs.forward()
    with file.open("a") as more:
        more.write("}\n")
    worker_logs.forward()
    worker_logs.forward()
    assert capsys.readouterr().err.splitlines() == ['{"time": 1}', '{"time": 2}']
    read.begin()
    with forwarded(tmp_path):
        (folder / "worker-2.err").write_text('{"time": 3}\n')
    assert '{"time": 3}' in capsys.readouterr().err.splitlines()
