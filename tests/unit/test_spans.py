"""Spans: a clip's trace is named by its id, and all that was done for it lines up there."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from example_renders import SPEC, job_of, renderer_of
from fastapi import FastAPI
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode
from scripted_engine import ScriptedEngine
from starlette.responses import Response
from starlette.testclient import TestClient

from deployments.api.guard import Guard
from deployments.api.request_spans import tell_submitted
from farm.errors import InputError, RankLostError, StorageError
from farm.queue.job import Job
from farm.storage import MemoryStorage, Storage
from farm.traces import Spans, begin_spans, clip_span, end_spans, flush_spans, run_origin, span_id_of, spans, use_spans
from jobs.calls import Execution
from jobs.running import stoppable

RUN = run_origin("0123456789abcdef", epoch=2)
STAGES = {"input", "denoise", "decode", "encode", "publish"}


class Told:
    """Spans that were told."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.spans = Spans(SimpleSpanProcessor(self.exporter), origin=RUN, about={"role": "test", "node": None})

    def all(self) -> list[ReadableSpan]:
        return list(self.exporter.get_finished_spans())

    def named(self, name: str) -> list[ReadableSpan]:
        return [span for span in self.all() if span.name == name]

    def children(self, parent: ReadableSpan) -> list[ReadableSpan]:
        return [span for span in self.all() if span.parent is not None and span.parent == parent.context]


@pytest.fixture
def told() -> Iterator[Told]:
    before, found = spans(), Told()
    use_spans(found.spans)
    yield found
    use_spans(before)


@pytest.fixture
def out() -> Storage:
    return MemoryStorage(uuid.uuid4().hex)


def trace_id(span: ReadableSpan) -> int:
    assert span.context is not None
    return span.context.trace_id


def links(span: ReadableSpan) -> list[tuple[int, int]]:
    return [(link.context.trace_id, link.context.span_id) for link in span.links]


def test_a_clip_from_text_to_publication(told: Told, out: Storage, tmp_path: Path) -> None:
    with clip_span("text", SPEC.clip_id, model="fake"):
        pass
    renderer_of(out, tmp_path, ScriptedEngine()).render(job_of())
    assert {f"{trace_id(span):032x}" for span in told.all()} == {SPEC.clip_id}
    (text,), (render,) = told.named("text"), told.named("render")
    assert text.parent is render.parent is None
    assert links(render) == [RUN]
    attributes = dict(render.attributes or {})
    assert attributes["wanfarm.clip_id"] == SPEC.clip_id
    assert (attributes["wanfarm.run_id"], attributes["wanfarm.model"]) == ("run", "fake")
    assert (attributes["wanfarm.shape"], attributes["wanfarm.steps"]) == ("32x32x5", 10)
    assert (attributes["wanfarm.degree"], attributes["wanfarm.resumed"]) == (1, False)
    assert attributes["wanfarm.status"] == "committed"
    stages = told.children(render)
    assert {stage.name for stage in stages} == STAGES
    for stage in stages:
        assert stage.start_time is not None
        assert stage.end_time is not None
        assert (render.start_time or 0) - 2_000_000 <= stage.start_time <= stage.end_time
        assert stage.end_time <= (render.end_time or 0) + 20_000_000
    assert dict(render.resource.attributes)["service.name"] == "wanfarm"
    assert dict(render.resource.attributes)["wanfarm.role"] == "test"
    assert "prompt" not in str([span.to_json() for span in told.all()])


def test_a_clip_that_breaks_and_goes_on(told: Told, out: Storage, tmp_path: Path) -> None:
    renderer_of(out, tmp_path, ScriptedEngine({6: RankLostError("gone")})).render(job_of())
    (render,) = told.named("render")
    attributes = dict(render.attributes or {})
    assert (attributes["wanfarm.resumed"], attributes["wanfarm.resumed_at"]) == (True, (4,))
    tries = [span for span in told.children(render) if span.name == "denoise"]
    assert [dict(span.attributes or {}) for span in tries] == [{}, {"wanfarm.step": 4}]


@pytest.mark.parametrize(("error", "status"), [(InputError("bad"), "failed"), (ZeroDivisionError("bug"), "failed")])
def test_a_clip_that_is_given_up_has_an_error(
    told: Told, out: Storage, tmp_path: Path, error: Exception, status: str
) -> None:
    renderer_of(out, tmp_path, ScriptedEngine(*[{1: error}] * 9)).render(job_of())
    (render,) = told.named("render")
    assert render.status.status_code is StatusCode.ERROR
    assert dict(render.attributes or {})["wanfarm.status"] == status
    noted = [event for event in render.events if event.name == "attempt failed"]
    assert len(noted) == (0 if isinstance(error, InputError) else 3)


def test_a_clip_that_is_left_for_a_later_turn(
    told: Told, out: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: str, local: Path) -> None:
        raise StorageError("put", path, "no space left")

    monkeypatch.setattr(out, "put_file", full)
    with pytest.raises(StorageError):
        renderer_of(out, tmp_path, ScriptedEngine()).render(job_of())
    (render,) = told.named("render")
    assert dict(render.attributes or {})["wanfarm.status"] == "left"


def app_of(job: Job | None) -> TestClient:
    def submit(video_id: str) -> Response:
        if job is not None:
            tell_submitted(job, "queued", begun_s=0.0)
        return Response(status_code=200 if job is not None else 503)

    app = FastAPI()
    app.post("/v1/videos/{video_id}")(submit)
    app.add_middleware(Guard, hosts=None)
    return TestClient(app)


def job_asked() -> Job:
    return Job(id="video_x", project="p", key_id="k", created_at=0.0, spec=SPEC, model="fake", is_seed_given=True)


def test_probes_are_no_news(told: Told) -> None:
    client = app_of(job_asked())
    client.get("/healthz")
    client.post("/v1/videos/1")
    assert [span.name for span in told.all() if span.name.startswith("GET")] == []
    assert told.named("POST /v1/videos/{video_id}")


def test_a_request_is_in_its_callers_trace_and_linked_to_its_clips(told: Told) -> None:
    caller = f"{0xABC:032x}"
    reply = app_of(job_asked()).post("/v1/videos/1?signature=hush", headers={"traceparent": f"00-{caller}-{7:016x}-01"})
    (request,) = told.named("POST /v1/videos/{video_id}")
    assert f"{trace_id(request):032x}" == caller
    assert request.parent is not None
    assert request.parent.span_id == 7
    attributes = dict(request.attributes or {})
    assert attributes["http.response.status_code"] == 200
    assert attributes["wanfarm.request_id"] == reply.headers["x-request-id"]
    assert attributes["wanfarm.job_id"] == "video_x"
    (submit,) = told.named("submit")
    assert f"{trace_id(submit):032x}" == SPEC.clip_id
    assert submit.context is not None
    assert request.context is not None
    assert submit.context.span_id == span_id_of("job video_x")
    assert links(submit) == [(request.context.trace_id, request.context.span_id)]
    assert links(request) == [(submit.context.trace_id, submit.context.span_id)]
    assert "hush" not in request.to_json()
    told.exporter.clear()
    with clip_span("text", SPEC.clip_id, job_id="video_x"):
        pass
    assert links(told.all()[0]) == [(submit.context.trace_id, submit.context.span_id)]


def test_a_request_of_nobodys_trace_begins_one(told: Told) -> None:
    for _ in range(2):
        assert app_of(None).post("/v1/videos/1").status_code == 503
    one, other = told.all()
    assert one.parent is other.parent is None
    assert trace_id(one) != trace_id(other)
    assert dict(one.attributes or {})["http.response.status_code"] == 503


def test_ids_are_given_to_the_right_span_whoever_else_makes_some(told: Told) -> None:
    def tell(number: int) -> None:
        for _ in range(50):
            told.spans.tell("x", trace_id=number, span_id=number, begun_s=0.0, facts={"number": number})

    threads = [threading.Thread(target=tell, args=(number,)) for number in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(told.all()) == 400
    for span in told.all():
        number = dict(span.attributes or {})["wanfarm.number"]
        assert span.context is not None
        assert (span.context.trace_id, span.context.span_id) == (number, number)


def test_without_a_collector_nothing_is_imported() -> None:
    program = (
        "import sys, farm.traces as traces, farm.workers.renderer, jobs.running; traces.begin_spans(None); "
        "[None for _ in range(3) if traces.clip_span('text', '0').__enter__()]; traces.end_spans(); "
        "print(sorted(name for name in sys.modules if name.startswith('opentelemetry')))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_an_address_is_no_reason_to_render_nothing_where_the_exporter_is_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://of.another.program:4317")
    assert stoppable(lambda _: 0, Execution()) == 0
    assert spans() is None
    assert "pip install 'wanfarm[traces]'" in capsys.readouterr().err


def test_spans_reach_a_collector_before_the_process_ends() -> None:
    asked = list[tuple[str, int]]()

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            asked.append((self.path, body.count(b"render")))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *arguments: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Collector)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        begin_spans(f"http://127.0.0.1:{server.server_port}/", role="test")
        with clip_span("render", SPEC.clip_id):
            pass
        end_spans()
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert asked == [("/v1/traces", 1)]
    assert spans() is None


def test_a_collector_that_does_not_answer_is_hardly_waited_for() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        begin_spans(f"http://127.0.0.1:{silent.getsockname()[1]}", role="test")
        with clip_span("render", SPEC.clip_id):
            pass
        begun_s = time.monotonic()
        for _ in range(5):
            flush_spans()
        end_spans()
        assert time.monotonic() - begun_s < 3.5
