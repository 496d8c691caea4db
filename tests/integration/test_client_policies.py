"""Client policies over real gRPC: several targets, hedges, attempt timeouts, nested retries, and what travels along."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, suppress
from typing import Any

import pytest

import carrick
from carrick import (
    AttemptKind,
    BreakerOptions,
    CacheOptions,
    CarrickError,
    Code,
    Context,
    DeadlineError,
    HedgeOptions,
    IdempotencyLevel,
    MethodKind,
    MethodPolicy,
    MethodSpec,
    Priority,
    RetryBudgetOptions,
    RetryOptions,
)
from carrick.rpc import Channel, Server
from tests.integration.serving import PATIENCE, Routes, until
from tests.unit.streams import Item, item, items, numbers, streaming

QUICK = RetryOptions(max_attempts=4, initial_backoff=0.001, max_backoff=0.001)
SHAPES = list(MethodKind)


def method(kind: MethodKind, policy: MethodPolicy) -> MethodSpec[Item, Item]:
    """Return a method without side effects."""
    return streaming(kind, idempotency=IdempotencyLevel.NO_SIDE_EFFECTS, policy=policy)


def handler(spec: MethodSpec[Item, Item], answer: Callable[[Context], Any]) -> Any:
    """Return a handler of any shape, whose one response is the answer's."""

    async def one(request: Any, ctx: Context) -> Item:
        if spec.streams_requests:
            await numbers(request)
        reply: Item = await answer(ctx)
        return reply

    async def many(request: Any, ctx: Context) -> AsyncIterator[Item]:
        yield await one(request, ctx)

    return many if spec.streams_responses else one


async def call(channel: Channel, spec: MethodSpec[Item, Item], **arguments: Any) -> int:
    """Call a method of any shape once, and return the number of its one response."""
    match spec.kind:
        case MethodKind.UNARY:
            return (await channel.unary(spec)(item(0), **arguments)).total
        case MethodKind.CLIENT_STREAM:
            return (await channel.client_stream(spec)(items(3), **arguments)).total
        case MethodKind.SERVER_STREAM:
            (reply,) = await numbers(channel.server_stream(spec)(item(0), **arguments))
        case MethodKind.BIDI_STREAM:
            (reply,) = await numbers(channel.bidi_stream(spec)(items(3), **arguments))
    return reply


class Servers:
    """Servers of one method, each with an answer of its own."""

    def __init__(self) -> None:
        self._running = AsyncExitStack()

    async def start(self, spec: MethodSpec[Item, Item], answer: Callable[[Context], Any]) -> str:
        """Start one, and return its address."""
        server = await self._running.enter_async_context(Server(Routes(spec, handler(spec, answer)), grace=1.0))
        return server.address

    async def channel(self, *targets: str, **options: Any) -> Channel:
        """Return a channel."""
        return await self._running.enter_async_context(Channel(targets, **options))

    async def stop(self) -> None:
        """Close channels and stop servers."""
        await self._running.aclose()


@pytest.fixture
async def servers() -> AsyncIterator[Servers]:
    """Servers that are stopped after the test."""
    running = Servers()
    yield running
    await running.stop()


@pytest.mark.parametrize("kind", SHAPES)
async def test_an_attempt_that_takes_too_long_is_followed_by_another(kind: MethodKind, servers: Servers) -> None:
    """The server sees the first one cancelled, and the call has the second one's answer."""
    spec = method(kind, MethodPolicy(attempt_timeout=0.2, timeout=PATIENCE, retry=QUICK))
    cancelled, attempts = asyncio.Event(), 0

    async def slow_at_first(ctx: Context) -> Item:
        nonlocal attempts
        attempts += 1
        if attempts > 1:
            return item(7)
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
        return item(0)

    channel = await servers.channel(await servers.start(spec, slow_at_first))
    assert await call(channel, spec) == 7
    await until(cancelled)
    assert attempts == 2


@pytest.mark.parametrize("kind", [MethodKind.SERVER_STREAM, MethodKind.BIDI_STREAM])
async def test_an_attempts_time_is_for_the_first_response(kind: MethodKind, servers: Servers) -> None:
    """A stream that has begun goes on for longer than an attempt may wait."""
    spec = method(kind, MethodPolicy(attempt_timeout=0.2, retry=QUICK))

    async def slow(request: Any, ctx: Context) -> AsyncIterator[Item]:
        yield item(1)
        await asyncio.sleep(0.5)
        yield item(2)

    async with Server(Routes(spec, slow)) as server, Channel(server.address) as channel:
        if kind is MethodKind.SERVER_STREAM:
            assert await numbers(channel.server_stream(spec)(item(0))) == [1, 2]
        else:
            assert await numbers(channel.bidi_stream(spec)(items(1))) == [1, 2]


@pytest.mark.parametrize("kind", SHAPES)
async def test_a_hedge_goes_to_another_target_and_wins(kind: MethodKind, servers: Servers) -> None:
    """The slow one's handler is cancelled."""
    spec = method(kind, MethodPolicy(timeout=PATIENCE, hedge=HedgeOptions(delay=0.05)))
    slow_ended = asyncio.Event()
    slow_has_it = True

    async def either(ctx: Context) -> Item:
        nonlocal slow_has_it
        if not slow_has_it:
            return item(5)
        slow_has_it = False
        try:
            await asyncio.Event().wait()
        finally:
            slow_ended.set()
        return item(0)

    channel = await servers.channel(await servers.start(spec, either), await servers.start(spec, either))
    assert await call(channel, spec) == 5
    await until(slow_ended)


async def test_hedges_and_retries_go_to_targets_that_were_not_tried(servers: Servers) -> None:
    """Each attempt stands on the call, with its kind and its endpoint."""
    spec = method(MethodKind.UNARY, MethodPolicy(timeout=PATIENCE, hedge=HedgeOptions(delay=0.05), retry=QUICK))
    contexts: list[Context] = []

    async def keep(request: Any, ctx: Context, service: carrick.Service) -> Any:
        contexts.append(ctx)
        return await service(request, ctx)

    async def failing(ctx: Context) -> Item:
        await asyncio.sleep(0.15)
        raise CarrickError(Code.UNAVAILABLE, "not here")

    targets = [await servers.start(spec, failing) for _ in range(2)]
    channel = await servers.channel(*targets)
    bound = channel.unary(spec)
    bound._service = carrick.stack(bound._service, keep)
    with pytest.raises(CarrickError, match="not here"):
        await bound(item(0))
    attempts = contexts[0].call.attempts
    assert [attempt.kind for attempt in attempts[:3]] == [AttemptKind.FIRST, AttemptKind.HEDGE, AttemptKind.RETRY]
    assert {attempt.endpoint for attempt in attempts[:2]} == set(targets)


async def test_a_target_that_is_away_is_passed_over(servers: Servers) -> None:
    """Calls go where they are answered once the circuit to the other is open."""
    spec = method(
        MethodKind.UNARY,
        MethodPolicy(timeout=PATIENCE, retry=QUICK, breaker=BreakerOptions(min_calls=1, open_for=60.0)),
    )

    async def here(ctx: Context) -> Item:
        return item(1)

    away = await servers.start(spec, here)
    channel = await servers.channel("127.0.0.1:1", away)
    for _ in range(20):
        assert await call(channel, spec) == 1
    state = channel.breaker(spec, "127.0.0.1:1")
    assert state is not None
    assert state.state == "open"


async def _chain(servers: Servers, spec: MethodSpec[Item, Item], bottom: Callable[[Context], Any]) -> Channel:
    """Return a channel to the first of three services, each of which calls the next with retries of its own."""
    target = await servers.start(spec, bottom)
    for _ in range(2):
        below = await servers.channel(target)

        async def hop(ctx: Context, below: Channel = below) -> Item:
            return item(await call(below, spec))

        target = await servers.start(spec, hop)
    return await servers.channel(target)


@pytest.mark.parametrize("kind", SHAPES)
async def test_three_layers_of_retries_do_not_multiply(kind: MethodKind, servers: Servers) -> None:
    """Each layer may try four times: the bottom is called four times, not sixty-four, and the error comes up."""
    spec = method(kind, MethodPolicy(timeout=PATIENCE, retry=QUICK))
    calls = 0

    async def failing(ctx: Context) -> Item:
        nonlocal calls
        calls += 1
        raise CarrickError(Code.UNAVAILABLE, "down")

    channel = await _chain(servers, spec, failing)
    with pytest.raises(CarrickError) as caught:
        await call(channel, spec)
    assert caught.value.code is Code.UNAVAILABLE
    assert calls == 4


async def test_a_failure_in_the_middle_leaves_the_rest_to_the_layers_above(servers: Servers) -> None:
    """Two of three retries are made at the bottom: its caller's caller has the third, and then it is over."""
    spec = method(MethodKind.UNARY, MethodPolicy(timeout=PATIENCE, retry=QUICK))
    calls = 0

    async def failing(ctx: Context) -> Item:
        nonlocal calls
        calls += 1
        code = Code.FAILED_PRECONDITION if calls == 3 else Code.UNAVAILABLE
        raise CarrickError(code, "down")

    channel = await _chain(servers, spec, failing)
    with pytest.raises(CarrickError) as caught:
        await call(channel, spec)
    assert caught.value.code is Code.INTERNAL
    assert calls == 3


async def test_a_budget_bounds_the_retries_of_all_calls(servers: Servers) -> None:
    """When everything fails, there are as many attempts as calls and the budget's retries."""
    spec = method(
        MethodKind.UNARY,
        MethodPolicy(
            timeout=PATIENCE, retry=QUICK, retry_budget=RetryBudgetOptions(ratio=0.2, per_second=0.1, window=60.0)
        ),
    )
    attempts = 0

    async def failing(ctx: Context) -> Item:
        nonlocal attempts
        attempts += 1
        raise CarrickError(Code.UNAVAILABLE, "down")

    channel = await servers.channel(await servers.start(spec, failing))
    bound = channel.unary(spec)
    errors = await asyncio.gather(*(bound(item(0)) for _ in range(50)), return_exceptions=True)
    assert all(isinstance(error, CarrickError) for error in errors)
    assert attempts == 50 + 10 + 6
    budget = channel.retry_budget(spec.service)
    assert budget is not None
    assert not budget.withdraw(asyncio.get_running_loop().time())


async def test_a_call_that_cannot_finish_is_not_sent(servers: Servers) -> None:
    """The server never hears of it."""
    spec = method(MethodKind.UNARY, MethodPolicy(min_remaining=0.5, retry=QUICK))

    async def never(ctx: Context) -> Item:
        raise AssertionError("it was sent")

    channel = await servers.channel(await servers.start(spec, never))
    with pytest.raises(DeadlineError, match=r"was not sent: it needs 0\.5 s") as caught:
        await call(channel, spec, timeout=0.4)
    assert caught.value.attempt is not None
    assert not caught.value.attempt.sent


async def test_what_travels_along(servers: Servers) -> None:
    """Priority and tenant go through every hop; the deadline gets shorter by the margin at each."""
    spec = method(MethodKind.UNARY, MethodPolicy(priority=Priority.CRITICAL, deadline_margin=0.2))
    contexts: list[Context] = []
    loop = asyncio.get_running_loop()
    remaining: list[float] = []

    def note(ctx: Context) -> None:
        contexts.append(ctx)
        assert ctx.deadline is not None
        remaining.append(ctx.deadline - loop.time())

    async def bottom(ctx: Context) -> Item:
        note(ctx)
        return item(1)

    below = await servers.channel(await servers.start(spec, bottom))

    async def hop(ctx: Context) -> Item:
        note(ctx)
        return item(await call(below, spec))

    channel = await servers.channel(await servers.start(spec, hop))
    with carrick.calling(priority=Priority.SHEDDABLE, tenant="acme"):
        await call(channel, spec, timeout=PATIENCE)
    await call(channel, spec, timeout=PATIENCE)
    assert [(ctx.priority, ctx.tenant) for ctx in contexts] == [
        (Priority.SHEDDABLE, "acme"),
        (Priority.SHEDDABLE, "acme"),
        (Priority.CRITICAL, None),
        (Priority.CRITICAL, None),
    ]
    assert remaining[1] < remaining[0] - 0.19


async def test_a_cache_in_front_of_a_server(servers: Servers) -> None:
    """The server is asked once, however many ask the client."""
    spec = method(MethodKind.UNARY, MethodPolicy(cache=CacheOptions(ttl=60.0)))
    calls = 0

    async def count(ctx: Context) -> Item:
        nonlocal calls
        calls += 1
        return item(calls)

    channel = await servers.channel(await servers.start(spec, count))
    bound = channel.unary(spec)
    together = await asyncio.gather(*(bound(item(0)) for _ in range(10)))
    assert [each.total for each in (*together, await bound(item(0)))] == [1] * 11
    assert calls == 1


async def test_a_slow_way_to_a_target_is_waited_for(servers: Servers) -> None:
    """A connection that is half a second in the making, as over a long line with TLS, is not given up."""
    spec = method(MethodKind.UNARY, MethodPolicy(timeout=PATIENCE))

    async def here(ctx: Context) -> Item:
        return item(1)

    host, port = (await servers.start(spec, here)).split(":")

    async def pipe(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        while data := await source.read(65536):
            target.write(data)
        target.close()

    async def slowly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        onward_reader, onward_writer = await asyncio.open_connection(host, int(port))
        await asyncio.sleep(0.5)
        with suppress(ConnectionError):
            await asyncio.gather(pipe(reader, onward_writer), pipe(onward_reader, writer))

    async with await asyncio.start_server(slowly, "127.0.0.1", 0) as line:
        own = line.sockets[0].getsockname()
        async with Channel(f"{own[0]}:{own[1]}") as channel:
            assert await call(channel, spec) == 1
