"""One suite for all: a call is cancelled at every step that it takes, and nothing is left of it.

The event loop counts the steps: the test cancels a call after its first turn, in another run after its second, and so
on until a run comes to its end uncancelled. So every ``await`` of every policy, and of those that are written later, is
the one that is cancelled in some run.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from carrick import (
    BreakerOptions,
    CacheOptions,
    Code,
    ConcurrencyOptions,
    Context,
    FallbackOptions,
    HedgeOptions,
    IdempotencyLevel,
    MethodKind,
    MethodPolicy,
    MethodSpec,
    RemoteError,
    RetryOptions,
    ThrottleOptions,
)
from carrick.clock import Clock
from carrick.observe import ignore
from carrick.rpc import Channel
from carrick.service import Service
from carrick.stream import close
from carrick.telemetry.tracing import OpenTelemetry
from carrick.testing import FakeClock
from tests.unit.calls import turns
from tests.unit.streams import Item, item, items, numbers, streaming

MOST_STEPS = 300
SHAPES = list(MethodKind)


class Transport:
    """Answers late, at first with an outage; counts what it holds: attempts under way, streams open, sources unread."""

    def __init__(self, spec: MethodSpec[Any, Any], clock: Clock) -> None:
        self._spec = spec
        self._clock = clock
        self.held = 0
        self.sent = 0

    def service(self, method: MethodSpec[Any, Any]) -> Service:
        """Return the Service that makes attempts."""
        return self._send

    async def close(self) -> None:
        """Nothing is held between calls."""

    async def _send(self, request: Any, ctx: Context) -> Any:
        assert ctx.attempt is not None
        ctx.attempt.sent = True
        self.sent += 1
        number = self.sent
        self.held += 1
        try:
            if self._spec.streams_requests:
                await numbers(request)
            await asyncio.sleep(0)
            await self._clock.sleep(2.0)
            if number <= 2:
                raise RemoteError(Code.UNAVAILABLE, "not yet", attempt=ctx.attempt)
        except BaseException:
            if self._spec.streams_requests:
                await close(request)
            self.held -= 1
            raise
        if self._spec.streams_responses:
            return self._stream()
        self.held -= 1
        return item(1)

    def _stream(self) -> "Stream":
        return Stream(self)

    def let_go(self) -> None:
        """Note that a stream was closed, or came to its end."""
        self.held -= 1


class Stream:
    """Two responses, a step apart."""

    def __init__(self, transport: Transport) -> None:
        self._transport: Transport | None = transport
        self._left = 2

    def __aiter__(self) -> AsyncIterator[Item]:
        return self

    async def __anext__(self) -> Item:
        await asyncio.sleep(0)
        self._left -= 1
        if self._left < 0:
            await self.aclose()
            raise StopAsyncIteration
        return item(self._left)

    async def aclose(self) -> None:
        """Let go of the connection, once."""
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.let_go()


class Spans:
    """Spans that began, and those that ended."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.begun = 0
        start = provider.get_tracer("carrick").__class__.start_span
        spans = self

        def counting(tracer: Any, *arguments: Any, **named: Any) -> Any:
            spans.begun += 1
            return start(tracer, *arguments, **named)

        self.instruments = OpenTelemetry(provider)
        self.instruments._tracer.start_span = counting.__get__(self.instruments._tracer)  # type: ignore[method-assign]

    @property
    def open(self) -> int:
        """How many have not ended."""
        return self.begun - len(self.exporter.get_finished_spans())


def spec_of(kind: MethodKind, policy: MethodPolicy) -> MethodSpec[Item, Item]:
    """Return a method without side effects."""
    return streaming(kind, idempotency=IdempotencyLevel.NO_SIDE_EFFECTS, policy=policy)


RETRY = RetryOptions(max_attempts=5, initial_backoff=0.5, max_backoff=0.5)
POLICIES = {
    "retry": MethodPolicy(retry=RETRY),
    "hedge": MethodPolicy(hedge=HedgeOptions(delay=1.0, max_hedges=2)),
    "breaker": MethodPolicy(retry=RETRY, breaker=BreakerOptions(min_calls=2, open_for=0.4, trials=1)),
    "attempt timeout": MethodPolicy(retry=RETRY, attempt_timeout=1.5, timeout=60.0),
    "fallback": MethodPolicy(fallback=FallbackOptions(function=lambda request, error: item(7))),
    "cache": MethodPolicy(cache=CacheOptions(ttl=1.0), retry=RETRY),
    "concurrency": MethodPolicy(
        timeout=60.0, retry=RETRY, hedge=HedgeOptions(delay=1.0), concurrency=ConcurrencyOptions(limit=1, max_queued=5)
    ),
    "throttle": MethodPolicy(retry=RETRY, throttle=ThrottleOptions()),
    "all": MethodPolicy(
        timeout=60.0,
        retry=RETRY,
        hedge=HedgeOptions(delay=1.0),
        breaker=BreakerOptions(min_calls=100),
        concurrency=ConcurrencyOptions(limit=2, max_queued=5),
        throttle=ThrottleOptions(),
        attempt_timeout=30.0,
    ),
}
CASES = [
    pytest.param(kind, policy, id=f"{kind.value}-{name}")
    for name, policy in POLICIES.items()
    for kind in SHAPES
    if not ((policy.cache or policy.fallback) and kind is not MethodKind.UNARY)
]


class Run:
    """One call in a world of its own, whose time goes on by half a second whenever nothing else happens."""

    def __init__(self, kind: MethodKind, policy: MethodPolicy) -> None:
        self.clock = FakeClock()
        self.spec = spec_of(kind, policy)
        self.transport = Transport(self.spec, self.clock)
        self.spans = Spans()
        self.source_closed = 0
        self.channel = Channel(
            "one:1",
            clock=self.clock,
            uniform=lambda: 0.5,
            observe=ignore,
            instruments=self.spans.instruments,
            connect=lambda target, clock: self.transport,
        )

    async def source(self) -> AsyncIterator[Item]:
        """Yield requests, a step apart."""
        try:
            async for each in items(3):
                await asyncio.sleep(0)
                yield each
        finally:
            self.source_closed += 1

    def call(self) -> Awaitable[Any]:
        """Begin the call, and read its responses if there are many."""
        match self.spec.kind:
            case MethodKind.UNARY:
                return self.channel.unary(self.spec)(item(0))
            case MethodKind.CLIENT_STREAM:
                return self.channel.client_stream(self.spec)(self.source())
            case MethodKind.SERVER_STREAM:
                return self._read(self.channel.server_stream(self.spec)(item(0)))
            case MethodKind.BIDI_STREAM:
                return self._read(self.channel.bidi_stream(self.spec)(self.source()))

    async def _read(self, stream: Any) -> list[int]:
        async with stream:
            return await numbers(stream)


async def step(clock: FakeClock, task: "asyncio.Task[Any]") -> None:
    """Let everything run for one turn of the loop; when only time would help, let it pass."""
    await asyncio.sleep(0)
    loop = asyncio.get_running_loop()
    if not loop._ready and not task.done():  # type: ignore[attr-defined]  # nothing but timers of the fake clock is left
        clock.advance(0.5)


async def cancelled_after(steps: int, run: Run) -> bool:
    """Cancel the call after that many turns, check that nothing is left of it, and say whether it was cancelled."""
    before = asyncio.all_tasks()
    task = asyncio.ensure_future(run.call())
    for _ in range(steps):
        if task.done():
            break
        await step(run.clock, task)
    was_running = not task.done()
    task.cancel()
    await asyncio.wait((task,))
    await turns()
    assert task.cancelled() or not was_running, f"step {steps}: {task!r} swallowed the cancellation"
    assert asyncio.all_tasks() == before, f"step {steps}: tasks are left"
    assert run.transport.held == 0, f"step {steps}: {run.transport.held} attempts or streams are held"
    assert run.spans.open == 0, f"step {steps}: spans are open"
    return was_running


@pytest.mark.parametrize(("kind", "policy"), CASES)
async def test_cancelling_at_every_step_leaves_nothing(kind: MethodKind, policy: MethodPolicy) -> None:
    """No task, no attempt, no stream, no span, no permit; and the caller has its CancelledError."""
    for steps in range(MOST_STEPS):
        run = Run(kind, policy)
        was_running = await cancelled_after(steps, run)
        assert run.source_closed <= 1
        state = run.channel.breaker(run.spec)
        if state is not None and state.state == "half-open":
            assert state.admits(run.clock.monotonic()), f"step {steps}: a trial permit is lost"
        limit = run.channel.limit(run.spec)
        if limit is not None:
            assert (limit.in_flight, limit.queued) == (0, 0), f"step {steps}: a place is lost"
        if not was_running:
            assert steps > 5
            return
    pytest.fail("the call did not come to its end")


async def test_the_suite_sees_what_is_left() -> None:
    """A policy that keeps a task, or swallows the cancellation, is caught."""

    def leaking(run: Run) -> Callable[[], Awaitable[Any]]:
        async def call() -> None:
            run.leak = asyncio.create_task(asyncio.sleep(60))  # type: ignore[attr-defined]
            await asyncio.sleep(60)

        return call

    def swallowing(run: Run) -> Callable[[], Awaitable[Any]]:
        async def call() -> None:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                return

        return call

    for fault, message in ((leaking, "tasks are left"), (swallowing, "swallowed")):
        run = Run(MethodKind.UNARY, MethodPolicy())
        run.call = fault(run)  # type: ignore[method-assign]
        with pytest.raises(AssertionError, match=message):
            await cancelled_after(3, run)
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
