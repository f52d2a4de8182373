"""OpenTelemetry spans of a clip's way through the farm, sent to a collector where the settings name one.

A clip's trace has the clip's id, whose 32 hexadecimal digits are what a trace's id is made of. So the spans of all
processes and of all tries line up, though nothing is handed from one to the other, and whoever knows a clip finds its
trace. Runs have traces of their own, and clips' spans link to them; so do jobs and the requests that asked for them.

    trace of a request    its own, or the caller's (traceparent)                          links to submit
    trace of a run        plan, run
    trace of a clip       submit, text, render{input, denoise, decode, encode, publish}   render links to run or submit

Without a collector nothing is imported, and what is asked of `spans` is one comparison. The provider is this module's
own: libraries that look for the process's global one find theirs.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from farm.errors import UsageError

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import SpanProcessor
    from opentelemetry.trace import Span, SpanContext

    from farm.timeline import Interval

SERVICE = "wanfarm"
PREFIX = "wanfarm."
PATH = "/v1/traces"
GATHER_MS = 1000
# A collector that is away costs a worker so long for each block of clips, about a minute's work, and no more.
FLUSH_S = 1.0
SEND_S = 5.0

_NS = 1_000_000_000


class _State:
    spans: Spans | None = None


class _Wanted(threading.local):
    """Ids that the next span of a thread is to have; 0 is any."""

    trace = 0
    span = 0

    def want(self, trace: int, span: int) -> None:
        self.trace, self.span = trace, span

    def take_trace(self) -> int:
        taken, self.trace = self.trace, 0
        return taken

    def take_span(self) -> int:
        taken, self.span = self.span, 0
        return taken


class Spans:
    """Makes spans with ids that follow from what they are about.

    Args:
        processor: where they go.
        origin: what spans of clips link to, see `run_origin`; None is nothing.
        about: of the process, attributes of all of its spans.
    """

    def __init__(
        self, processor: SpanProcessor, *, origin: tuple[int, int] | None = None, about: Mapping[str, Any]
    ) -> None:
        from opentelemetry.sdk.resources import SERVICE_NAME, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.id_generator import RandomIdGenerator

        wanted = self._wanted = _Wanted()

        class Ids(RandomIdGenerator):
            """The wanted ones for this thread's next span, otherwise random ones."""

            def generate_trace_id(self) -> int:
                return wanted.take_trace() or super().generate_trace_id()

            def generate_span_id(self) -> int:
                return wanted.take_span() or super().generate_span_id()

        resource = Resource.create({SERVICE_NAME: SERVICE, **_attributes(about)})
        self._provider = TracerProvider(id_generator=Ids(), resource=resource)
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer(SERVICE)
        self._origin = origin
        self._flushing: threading.Thread | None = None

    def tell(
        self,
        name: str,
        *,
        trace_id: int,
        begun_s: float,
        span_id: int = 0,
        facts: Mapping[str, Any],
        stages: Sequence[Interval] = (),
        events: Sequence[tuple[str, float, Mapping[str, Any]]] = (),
        links: Sequence[SpanContext] = (),
        error: str | None = None,
    ) -> None:
        """A span that ends now, with its stages as children.

        Args:
            events: name, seconds since the epoch, and facts of what happened meanwhile.
            error: what it failed of.
        """
        from opentelemetry.context import Context
        from opentelemetry.trace import Link, Status, StatusCode, set_span_in_context

        self._wanted.want(trace_id, span_id)
        span = self._tracer.start_span(
            name,
            context=Context(),
            start_time=_ns(begun_s),
            attributes=_attributes(facts),
            links=[Link(context) for context in links],
        )
        for event, at_s, told in events:
            span.add_event(event, _attributes(told), timestamp=_ns(at_s))
        inside = set_span_in_context(span)
        for stage in stages:
            child = self._tracer.start_span(stage.name, context=inside, start_time=_ns(stage.begun_s))
            if stage.step is not None:
                child.set_attribute(f"{PREFIX}step", stage.step)
            child.end(_ns(stage.ended_s))
        if error is not None:
            span.set_status(Status(StatusCode.ERROR, error))
        span.end()

    def tell_of_clip(self, name: str, clip_id: str, *, job_id: str | None = None, **told: Any) -> None:
        """The same in a clip's trace, linked to the job or run that it is made for."""
        origin = (int(clip_id, 16), span_id_of(f"job {job_id}")) if job_id else self._origin
        links = [] if origin is None else [context_of(*origin)]
        self.tell(name, trace_id=int(clip_id, 16), links=links, **told)

    @contextmanager
    def request(self, name: str, headers: Mapping[str, str]) -> Iterator[Span]:
        """A request that is answered meanwhile: in the trace that is current, else the caller's, else a new one."""
        from opentelemetry.trace import SpanKind, get_current_span, use_span
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        is_inside = get_current_span().get_span_context().is_valid
        context = None if is_inside else TraceContextTextMapPropagator().extract(headers)
        span = self._tracer.start_span(name, context=context, kind=SpanKind.SERVER)
        with use_span(span, end_on_exit=True):
            yield span

    def flush(self) -> None:
        """Send what there is. Whoever does not answer in time is not waited for, and while that lasts not again."""
        if self._flushing is None or not self._flushing.is_alive():
            self._flushing = _within(FLUSH_S, self._provider.force_flush)

    def close(self) -> None:
        """Send what there is, and end."""
        self.flush()
        _within(FLUSH_S, self._provider.shutdown)


def spans() -> Spans | None:
    """This process's, None where none are wanted."""
    return _State.spans


def use_spans(found: Spans | None) -> None:
    """Have this process's spans be those."""
    _State.spans = found


def begin_spans(address: str | None, *, origin: tuple[int, int] | None = None, **about: Any) -> None:
    """Have this process send spans to the collector at that OTLP/HTTP address, if there is one.

    UsageError where the exporter is not installed.
    """
    if address is None:
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise UsageError(f"spans cannot be sent to a collector: pip install 'wanfarm[traces]' ({error})") from error
    exporter = OTLPSpanExporter(endpoint=address.rstrip("/") + PATH, timeout=SEND_S)
    use_spans(Spans(BatchSpanProcessor(exporter, schedule_delay_millis=GATHER_MS), origin=origin, about=about))


def flush_spans() -> None:
    """Send what there is, before a process may be ended."""
    if _State.spans is not None:
        _State.spans.flush()


def end_spans() -> None:
    """Send what there is, and send nothing more."""
    found, _State.spans = _State.spans, None
    if found is not None:
        found.close()


@contextmanager
def clip_span(name: str, clip_id: str, *, job_id: str | None = None, **facts: Any) -> Iterator[None]:
    """A span of a clip's trace as long as the block lasts, where spans are wanted."""
    found, begun_s, error = _State.spans, time.time(), None
    try:
        yield
    except Exception as fault:
        error = type(fault).__name__
        raise
    finally:
        if found is not None:
            known = {"clip_id": clip_id, "job_id": job_id, **facts}
            found.tell_of_clip(name, clip_id, job_id=job_id, begun_s=begun_s, facts=known, error=error)


def run_origin(run_id: str, *, epoch: int) -> tuple[int, int]:
    """Trace and span of one driver's time at a run."""
    return run_trace_id(run_id), span_id_of(f"run {run_id} {epoch}")


def run_trace_id(run_id: str) -> int:
    """A run's trace."""
    return int(hashlib.sha256(f"run {run_id}".encode()).hexdigest()[:32], 16)


def span_id_of(name: str) -> int:
    """A span's id that follows from what it is about."""
    return int(hashlib.sha256(name.encode()).hexdigest()[:16], 16)


def context_of(trace_id: int, span_id: int) -> SpanContext:
    """A span as others link to it."""
    from opentelemetry.trace import SpanContext, TraceFlags

    return SpanContext(trace_id, span_id, is_remote=True, trace_flags=TraceFlags(TraceFlags.SAMPLED))


def _within(timeout_s: float, call: Callable[[], object]) -> threading.Thread:
    """Call it on a thread, and wait so long for its end: the library's own time limits do not hold."""
    thread = threading.Thread(target=call, name="send-spans", daemon=True)
    thread.start()
    thread.join(timeout_s)
    return thread


def _attributes(facts: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name if "." in name else f"{PREFIX}{name}": list(value) if isinstance(value, tuple) else value
        for name, value in facts.items()
        if value is not None
    }


def _ns(seconds: float) -> int:
    return round(seconds * _NS)
