"""OpenTelemetry spans for calls and events.

A call has a span and a child span an attempt (gRPC proposal A72); a handled call has one under the caller's attempt.
An event has a span where it is written, in the writer's trace; sending and handling it are traces of their own that
link to it. Whether to sample is decided before OpenTelemetry is touched: a call that is not sampled costs a few
microseconds and still hands its trace context on.
"""

import random
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from types import TracebackType
from typing import Any, Self

from opentelemetry import trace as otel
from opentelemetry.context import Context as OtelContext
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Link, NonRecordingSpan, Span, SpanContext, SpanKind, Status, StatusCode, TraceFlags
from opentelemetry.trace.span import TraceState
from opentelemetry.util.types import AttributeValue

from carrick.context import Context, enter
from carrick.errors import CarrickError, Code, ConfigurationError
from carrick.event import EventSpec
from carrick.ids import unique_id
from carrick.service import Filter, Service
from carrick.stream import Concluding, close
from carrick.telemetry.environment import exports
from carrick.trace import Trace

__all__ = ["OpenTelemetry", "tracing_from_environment"]


class OpenTelemetry:
    """Instruments that make spans with ``provider``. Closing it as a context manager sends what is left.

    ``sample_ratio`` is the share of new traces that are recorded; a trace that came in is recorded as its caller
    decided.
    """

    def __init__(self, provider: TracerProvider, *, sample_ratio: float = 1.0) -> None:
        if not 0 <= sample_ratio <= 1:
            raise ConfigurationError(f"sample_ratio must be 0 to 1, not {sample_ratio}")
        self._provider = provider
        self._tracer = provider.get_tracer("carrick")
        self._ratio = sample_ratio

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._provider.shutdown()

    def position(self, ctx: Context | None) -> Trace | None:
        """Return the current span's position, else that of ``ctx``, else a new one that is not recorded, or None."""
        position = _current_span() or (ctx.trace if ctx else None)
        return position or (None if random.random() < self._ratio else _unrecorded_trace())

    def call(self) -> Filter:
        """Return the filter around a client's call."""

        def traced_call(request: Any, ctx: Context, service: Service) -> Awaitable[Any]:
            if ctx.trace is not None and not ctx.trace.sampled:
                return service(request, ctx)
            span = self._start(_method(ctx), SpanKind.CLIENT, ctx.trace, _call_attributes(ctx))
            return _within(span, request, ctx, service)

        return traced_call

    def attempt(self) -> Filter:
        """Return the filter around each attempt."""

        def traced_attempt(request: Any, ctx: Context, service: Service) -> Awaitable[Any]:
            if ctx.trace is None or not ctx.trace.sampled:
                return service(request, ctx)
            name = f"Attempt.{_method(ctx)}"
            attributes = {**_call_attributes(ctx), "rpc.attempt": ctx.attempt.number if ctx.attempt else 1}
            return _within(self._start(name, SpanKind.CLIENT, ctx.trace, attributes), request, ctx, service)

        return traced_attempt

    def server(self) -> Filter:
        """Return the filter around the handling of a call."""

        def traced_server(request: Any, ctx: Context, service: Service) -> Awaitable[Any]:
            if not self._sampled(ctx.trace):
                return _unrecorded(request, ctx, service)
            span = self._start(_method(ctx), SpanKind.SERVER, ctx.trace, _call_attributes(ctx))
            return _within(span, request, ctx, _entered(service, span))

        return traced_server

    def process(self, spec: EventSpec[Any], consumer: str) -> Filter:
        """Return the filter around the handling of an event."""
        attributes = {**_event_attributes(spec.subject), "messaging.consumer.group.name": consumer}

        def traced_process(request: Any, ctx: Context, service: Service) -> Awaitable[Any]:
            if not self._sampled(ctx.trace):
                return _unrecorded(request, ctx, service)
            own = {**attributes, "messaging.operation.type": "process", "messaging.message.id": ctx.key or ""}
            name = f"process {spec.subject}"
            span = self._start(name, SpanKind.CONSUMER, None, own, link=ctx.trace)
            return _within(span, request, ctx, _entered(service))

        return traced_process

    def created(self, spec: EventSpec[Any], event_id: str, ctx: Context | None) -> Trace | None:
        """Record that an event was written, in the writer's trace."""
        parent = self.position(ctx)
        if parent is not None and not parent.sampled:
            return parent
        attributes = {
            **_event_attributes(spec.subject),
            "messaging.operation.type": "create",
            "messaging.message.id": event_id,
        }
        span = self._start(f"create {spec.subject}", SpanKind.PRODUCER, parent, attributes)
        span.end()
        return _position(span.get_span_context())

    def send(self, subject: str, event_id: str, trace: Trace | None) -> AbstractContextManager[None]:
        """Return a block with a span of its own trace that links to where the event was written."""
        if trace is None or not trace.sampled:
            return nullcontext()
        return self._send(subject, event_id, trace)

    @contextmanager
    def _send(self, subject: str, event_id: str, trace: Trace) -> Iterator[None]:
        attributes = {
            **_event_attributes(subject),
            "messaging.operation.type": "send",
            "messaging.message.id": event_id,
        }
        span = self._start(f"send {subject}", SpanKind.CLIENT, None, attributes, link=trace)
        try:
            with _current(span):
                yield
        except BaseException as error:
            _end(span, error)
            raise
        _end(span, None)

    def _sampled(self, parent: Trace | None) -> bool:
        return parent.sampled if parent is not None else random.random() < self._ratio

    def _start(
        self,
        name: str,
        kind: SpanKind,
        parent: Trace | None,
        attributes: dict[str, AttributeValue],
        *,
        link: Trace | None = None,
    ) -> Span:
        return self._tracer.start_span(
            name,
            context=_otel_context(parent),
            kind=kind,
            attributes=attributes,
            links=(Link(_span_context(link)),) if link is not None else None,
            record_exception=False,
            set_status_on_exception=False,
        )


def tracing_from_environment(service: str, *, sample_ratio: float = 1.0) -> OpenTelemetry | None:
    """Make instruments that export by OTLP when ``OTEL_EXPORTER_OTLP_ENDPOINT`` is set; None when it is not."""
    if not exports("TRACES"):
        return None
    provider = TracerProvider(resource=Resource.create({"service.name": service}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return OpenTelemetry(provider, sample_ratio=sample_ratio)


async def _within(span: Span, request: Any, ctx: Context, service: Service) -> Any:
    """Run a service inside a span, which ends with the response, or with the stream of responses."""
    try:
        with _current(span):
            reply = await service(request, ctx.with_trace(_position(span.get_span_context())))
    except BaseException as error:
        _end(span, error)
        raise
    if ctx.method is not None and ctx.method.streams_responses:
        return Concluding(reply, partial(_end, span))
    _end(span, None)
    return reply


def _current(span: Span) -> AbstractContextManager[Span]:
    return otel.use_span(span, record_exception=False, set_status_on_exception=False)


def _end(span: Span, error: BaseException | None) -> None:
    """End a span with what ended it; a stream that its reader left early is no error."""
    if isinstance(error, GeneratorExit):
        span.set_attribute("rpc.grpc.status_code", int(Code.CANCELLED))
    elif error is not None:
        code = error.code if isinstance(error, CarrickError) else Code.UNKNOWN
        span.set_attribute("error.type", code.name if isinstance(error, CarrickError) else type(error).__name__)
        span.set_attribute("rpc.grpc.status_code", int(code))
        span.set_status(Status(StatusCode.ERROR, code.name))
    span.end()


def _entered(service: Service, span: Span | None = None) -> Service:
    """Return a service whose context is current while it runs, so that what it calls follows its trace position."""

    async def inside(request: Any, ctx: Context) -> Any:
        with enter(ctx):
            reply = await service(request, ctx)
        return _Entered(reply, ctx, span) if ctx.method is not None and ctx.method.streams_responses else reply

    return inside


def _unrecorded(request: Any, ctx: Context, service: Service) -> Awaitable[Any]:
    """Handle without a span; what is called meanwhile follows the trace that came in, as it is, or else a new one."""
    return service(request, ctx) if ctx.trace else _entered(service)(request, ctx.with_trace(_unrecorded_trace()))


class _Entered:
    """A handler's stream, whose context and span are current while the handler works on the next response."""

    def __init__(self, stream: AsyncIterator[Any], ctx: Context, span: Span | None) -> None:
        self._stream = stream
        self._ctx = ctx
        self._span = span

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        with self._inside():
            return await self._stream.__anext__()

    async def aclose(self) -> None:
        """Close the handler's stream, inside too."""
        with self._inside():
            await close(self._stream)

    @contextmanager
    def _inside(self) -> Iterator[None]:
        with enter(self._ctx), _current(self._span) if self._span else nullcontext():
            yield


def _method(ctx: Context) -> str:
    return ctx.method.full_name if ctx.method else "event"


def _call_attributes(ctx: Context) -> dict[str, AttributeValue]:
    attributes: dict[str, AttributeValue] = {
        "rpc.system": "grpc",
        "carrick.correlation_id": ctx.correlation_id,
    }
    if ctx.method is not None:
        attributes["rpc.service"] = ctx.method.service
        attributes["rpc.method"] = ctx.method.name
    return attributes


def _event_attributes(subject: str) -> dict[str, AttributeValue]:
    return {"messaging.system": "nats", "messaging.destination.name": subject}


def _current_span() -> Trace | None:
    """Return the position of the span that is current for OpenTelemetry, so that the user's own spans are parents."""
    span = otel.get_current_span()
    if span is otel.INVALID_SPAN:  # there is none
        return None
    context = span.get_span_context()
    return _position(context) if context.is_valid else None


def _position(context: SpanContext) -> Trace:
    return Trace(
        f"{context.trace_id:032x}",
        f"{context.span_id:016x}",
        bool(context.trace_flags & TraceFlags.SAMPLED),
        context.trace_state.to_header() if context.trace_state else "",
    )


def _span_context(trace: Trace) -> SpanContext:
    return SpanContext(
        int(trace.trace_id, 16),
        int(trace.span_id, 16),
        is_remote=True,
        trace_flags=TraceFlags(TraceFlags.SAMPLED if trace.sampled else TraceFlags.DEFAULT),
        trace_state=TraceState.from_header([trace.state]) if trace.state else None,
    )


def _otel_context(parent: Trace | None) -> OtelContext:
    """Return a context that holds only the parent, or nothing: a root even inside another span."""
    if parent is None:
        return OtelContext()
    return otel.set_span_in_context(NonRecordingSpan(_span_context(parent)), OtelContext())


def _unrecorded_trace() -> Trace:
    ids = unique_id(48)
    return Trace(ids[:32], ids[32:], sampled=False)
