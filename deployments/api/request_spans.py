"""Requests as spans, where they are wanted: in their caller's trace, with links to the traces of clips they ask for."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any

from starlette.datastructures import Headers
from starlette.types import Scope

from farm.queue.job import Job
from farm.traces import context_of, span_id_of, spans

Outcome = MutableMapping[str, Any]

# Asked every few seconds, by machines.
PROBES = ("/healthz", "/readyz")


@contextmanager
def request_span(scope: Scope, *, request_id: str) -> Iterator[Outcome]:
    """As long as a request is answered; its status is told by whoever knows it, under "http.response.status_code"."""
    told: Outcome = {}
    if (found := spans()) is None or scope["path"] in PROBES:
        yield told
        return
    with found.request(scope["method"], Headers(scope=scope)) as span:
        yield told
        route = getattr(scope.get("route"), "path", None)  # known once the app has looked
        if route is not None:
            span.update_name(f"{scope['method']} {route}")
            span.set_attribute("http.route", route)
        span.set_attributes({"http.request.method": scope["method"], "wanfarm.request_id": request_id, **told})


def tell_submitted(job: Job, result: str, *, begun_s: float) -> None:
    """A job has been put down: a span in its clip's trace, and links between it and the request that came for it."""
    if (found := spans()) is None:
        return
    from opentelemetry.trace import get_current_span

    request = get_current_span()
    trace_id, span_id = int(job.clip_id, 16), span_id_of(f"job {job.id}")
    context = request.get_span_context()
    facts = {"clip_id": job.clip_id, "job_id": job.id, "model": job.model, "result": result}
    links = [context] if context.is_valid else []
    found.tell("submit", trace_id=trace_id, span_id=span_id, begun_s=begun_s, facts=facts, links=links)
    request.add_link(context_of(trace_id, span_id))
    request.set_attributes({"wanfarm.clip_id": job.clip_id, "wanfarm.job_id": job.id})
