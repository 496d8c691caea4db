"""Spans: who is whose parent, what is only linked, and what is never made."""

import random
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from opentelemetry import trace as otel
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanContext

from carrick import (
    CarrickError,
    Code,
    ConfigurationError,
    Context,
    MethodKind,
    MethodPolicy,
    RetryOptions,
    Service,
    Trace,
    current,
)
from carrick.stacks import event_stack, server_stack
from carrick.telemetry.tracing import OpenTelemetry
from carrick.testing import FakeClock
from shop.orders.v1.orders_carrick import ORDER_PLACED
from tests.unit.calls import PLAIN, REPEATABLE, REPLY, REQUEST, Scripted, client, first_attempt
from tests.unit.streams import Item, item, numbers, streaming

SAMPLED = Trace("a" * 32, "b" * 16, sampled=True)
WATCH = streaming(MethodKind.SERVER_STREAM)
UNSAMPLED = Trace("a" * 32, "b" * 16, sampled=False)


class Recorder:
    """Instruments whose spans are kept."""

    def __init__(self, ratio: float = 1.0) -> None:
        self._exporter = InMemorySpanExporter()
        self._provider = TracerProvider()
        self._provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.instruments = OpenTelemetry(self._provider, sample_ratio=ratio)

    def spans(self, name: str) -> list[ReadableSpan]:
        """Return the spans of a name, in the order in which they ended."""
        return [span for span in self._exporter.get_finished_spans() if span.name == name]

    @property
    def count(self) -> int:
        """How many spans were recorded."""
        return len(self._exporter.get_finished_spans())

    def close(self) -> None:
        """Shut the provider down."""
        self._provider.shutdown()


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    """Record every span."""
    recorder = Recorder()
    yield recorder
    recorder.close()


async def call(recorder: Recorder, transport: Scripted, ctx: Context) -> Any:
    """Make a call through a client's stack."""
    policy = MethodPolicy(retry=RetryOptions())
    service = client(transport, policy, clock=FakeClock(autojump=True), instruments=recorder.instruments)
    return await service(REQUEST, ctx)


def parent_of(span: ReadableSpan) -> int | None:
    """Return the id of a span's parent."""
    return None if span.parent is None else span.parent.span_id


def context_of(span: ReadableSpan) -> SpanContext:
    """Return a span's own context."""
    context = span.get_span_context()
    assert context is not None
    return context


def id_of(span: ReadableSpan) -> int:
    """Return a span's own id."""
    return context_of(span).span_id


async def test_each_attempt_is_a_child_of_the_call(recorder: Recorder) -> None:
    """Two attempts are siblings, and the peer is told of the attempt that it serves."""
    transport = Scripted(Code.UNAVAILABLE, Code.OK)
    await call(recorder, transport, first_attempt(REPEATABLE))
    (whole,) = recorder.spans("test.v1.Tests/Repeatable")
    attempts = recorder.spans("Attempt.test.v1.Tests/Repeatable")
    assert [parent_of(attempt) for attempt in attempts] == [id_of(whole)] * 2
    assert [ctx.trace and int(ctx.trace.span_id, 16) for ctx in transport.contexts] == [
        id_of(attempt) for attempt in attempts
    ]
    assert [attempt.status.is_ok for attempt in attempts] == [False, True]
    assert whole.status.is_ok


async def test_a_failed_call_says_its_code(recorder: Recorder) -> None:
    """The status is on the span; the message, which may hold anything, is not."""
    with pytest.raises(CarrickError):
        await call(recorder, Scripted(Code.NOT_FOUND), first_attempt(REPEATABLE))
    (whole,) = recorder.spans("test.v1.Tests/Repeatable")
    assert whole.attributes is not None
    assert whole.attributes["error.type"] == "NOT_FOUND"
    assert whole.attributes["rpc.grpc.status_code"] == 5
    assert "as told" not in str(whole.to_json())


async def test_a_handled_call_continues_its_callers_trace(recorder: Recorder) -> None:
    """The server's span has the caller's position as parent, and is current while the handler runs."""
    seen: list[Trace | None] = []

    async def handler(request: Any, ctx: Context) -> Any:
        inside = current()
        seen.append(inside.trace if inside else None)
        return REPLY

    service = server_stack(handler, PLAIN, clock=FakeClock(), claims=None, instruments=recorder.instruments)
    await service(REQUEST, Context(PLAIN, trace=SAMPLED))
    (span,) = recorder.spans("test.v1.Tests/Plain")
    assert parent_of(span) == int("b" * 16, 16)
    assert seen[0] is not None
    assert int(seen[0].span_id, 16) == id_of(span)


async def test_an_unsampled_call_touches_no_tracer_and_hands_its_trace_on(recorder: Recorder) -> None:
    """The caller decided: no span anywhere, and the peer is told the same."""
    transport = Scripted()
    ctx = Context(REPEATABLE, trace=UNSAMPLED, call=None, attempt=first_attempt(REPEATABLE).attempt)
    await call(recorder, transport, ctx)
    assert recorder.count == 0
    assert transport.contexts[0].trace == UNSAMPLED


async def test_a_ratio_decides_for_new_traces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Below the ratio a trace is recorded, above it not; either way the peer learns of the decision."""
    recorder = Recorder(ratio=0.25)
    for number, sampled in ((0.2, True), (0.3, False)):
        monkeypatch.setattr(random, "random", lambda number=number: number)
        transport = Scripted()
        ctx = first_attempt(REPEATABLE)
        born = recorder.instruments.position(None)
        await call(recorder, transport, ctx if born is None else ctx.with_trace(born))
        trace = transport.contexts[0].trace
        assert trace is not None
        assert trace.sampled is sampled
    assert recorder.count == 2  # the call and the attempt of the first
    recorder.close()


async def test_events_are_linked_not_nested(recorder: Recorder) -> None:
    """Created in the writer's trace; sent and processed in traces of their own, linked to the creation."""
    created = recorder.instruments.created(ORDER_PLACED, "event-1", Context(None, trace=SAMPLED))
    assert created is not None
    with recorder.instruments.send("orders.placed.v1.p01", "event-1", created):
        pass

    async def handler(request: Any, ctx: Context) -> None:
        return None

    service = event_stack(handler, ORDER_PLACED, "inventory", instruments=recorder.instruments)
    await service(None, Context(None, key="event-1", trace=created))
    (create,) = recorder.spans("create orders.placed.v1")
    assert parent_of(create) == int("b" * 16, 16)
    for name in ("send orders.placed.v1.p01", "process orders.placed.v1"):
        (span,) = recorder.spans(name)
        assert span.parent is None
        assert context_of(span).trace_id != context_of(create).trace_id
        assert [link.context.span_id for link in span.links] == [id_of(create)]


def test_a_ratio_is_a_share() -> None:
    """Anything else is refused with what to write."""
    with pytest.raises(ConfigurationError, match="0 to 1"):
        OpenTelemetry(TracerProvider(), sample_ratio=10)


class Stages:
    """A handler that streams, and notes at each stage which span and which context is current."""

    def __init__(self, error: Exception | None = None) -> None:
        self._error = error
        self.current: list[tuple[int, str | None]] = []

    async def __call__(self, request: Item, ctx: Context) -> AsyncIterator[Item]:
        """Yield twice."""
        for number in range(2):
            inside = current()
            self.current.append(
                (
                    otel.get_current_span().get_span_context().span_id,
                    inside.trace.span_id if inside and inside.trace else None,
                )
            )
            yield item(number)
        if self._error:
            raise self._error


def serving(recorder: Recorder, handler: Stages) -> Service:
    """Return a server's stack in front of a handler."""

    async def begin(request: Any, ctx: Context) -> Any:
        return handler(request, ctx)

    return server_stack(begin, WATCH, clock=FakeClock(), claims=None, instruments=recorder.instruments)


def streamed(recorder: Recorder, handler: Stages) -> Service:
    """Return a client's stack in front of a server's, as one stream."""
    server = serving(recorder, handler)
    return client(server, MethodPolicy(), of=WATCH, clock=FakeClock(), instruments=recorder.instruments)


async def test_a_streams_spans_last_until_its_end(recorder: Recorder) -> None:
    """Call, attempt and server spans end with the stream, and the server's is current while the handler works."""
    stages = Stages()
    stream = await streamed(recorder, stages)(item(0), first_attempt(WATCH))
    assert await anext(stream) == item(0)
    assert recorder.count == 0
    assert otel.get_current_span() is otel.INVALID_SPAN
    assert await numbers(stream) == [1]
    server, whole = recorder.spans(WATCH.full_name)
    (attempt,) = recorder.spans(f"Attempt.{WATCH.full_name}")
    assert (parent_of(server), parent_of(attempt)) == (id_of(attempt), id_of(whole))
    assert stages.current == [(id_of(server), f"{id_of(server):016x}")] * 2


async def test_a_stream_that_breaks_off_says_its_code(recorder: Recorder) -> None:
    """An error after some messages is on all three spans."""
    stream = await streamed(recorder, Stages(CarrickError(Code.ABORTED, "as told")))(item(0), first_attempt(WATCH))
    with pytest.raises(CarrickError):
        await numbers(stream)
    spans = [*recorder.spans(WATCH.full_name), *recorder.spans(f"Attempt.{WATCH.full_name}")]
    assert [(span.attributes or {})["error.type"] for span in spans] == ["ABORTED"] * 3


async def test_a_stream_that_is_left_is_no_error(recorder: Recorder) -> None:
    """A reader that has enough ends the spans as cancelled, not as failed."""
    stream = await streamed(recorder, Stages())(item(0), first_attempt(WATCH))
    await anext(stream)
    await stream.aclose()
    spans = [*recorder.spans(WATCH.full_name), *recorder.spans(f"Attempt.{WATCH.full_name}")]
    assert [(span.attributes or {})["rpc.grpc.status_code"] for span in spans] == [1] * 3
    assert all("error.type" not in (span.attributes or {}) for span in spans)


async def test_an_unsampled_stream_has_a_position_to_hand_on() -> None:
    """Where no trace came in, a new one that is not recorded is current while the handler works."""
    recorder = Recorder(ratio=0.0)
    stages = Stages()
    stream = await serving(recorder, stages)(item(0), Context(WATCH))
    await numbers(stream)
    assert recorder.count == 0
    assert all(position for _, position in stages.current)
    recorder.close()


async def test_an_unsampled_trace_that_came_in_is_followed_as_it_is(recorder: Recorder) -> None:
    """The context that the server made current is the handler's too: it is neither copied nor entered again."""
    seen = []

    async def handler(request: Any, ctx: Context) -> Any:
        seen.append(ctx)
        return REPLY

    ctx = Context(PLAIN, trace=UNSAMPLED)
    server = server_stack(handler, PLAIN, clock=FakeClock(), claims=None, instruments=recorder.instruments)
    assert await server(REQUEST, ctx) is REPLY
    assert seen == [ctx]
