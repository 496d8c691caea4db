"""Shedding and rate limits over real gRPC."""

import asyncio
import time
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable
from typing import Any

import grpc.aio
import pytest
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from carrick import (
    AttemptKind,
    CarrickError,
    Code,
    Context,
    DeadlineError,
    MethodKind,
    MethodPolicy,
    MethodRoute,
    MethodSpec,
    Priority,
    RateKey,
    RateLimitOptions,
    RemoteError,
    SheddingOptions,
)
from carrick.observe import CallShed, RateLimited
from carrick.policy.pushback import pushback
from carrick.rpc import Channel, Server
from shop.orders.v1.orders_pb2 import PlaceOrderRequest, PlaceOrderResponse
from tests.integration.serving import PATIENCE, TALK, UPLOAD, WATCH
from tests.unit.calls import PLAIN, REPLY, REQUEST, Seen, half, method
from tests.unit.streams import Item, item, items, numbers

UNARY = method("Unary")


class Routes:
    """A servicer of some methods."""

    def __init__(self, *routes: tuple[MethodSpec[Any, Any], Any]) -> None:
        self._routes = tuple(MethodRoute(spec, handler) for spec, handler in routes)

    def routes(self) -> tuple[MethodRoute[Any, Any], ...]:
        """Return them."""
        return self._routes


class Blocking:
    """Handlers of all shapes that wait until they are let go, and then end as told."""

    def __init__(self) -> None:
        self.entered: asyncio.Queue[Priority | None] = asyncio.Queue()
        self.go = asyncio.Event()
        self.error: CarrickError | None = None
        self.handled = 0

    async def _wait(self, ctx: Context) -> None:
        self.handled += 1
        self.entered.put_nowait(ctx.priority)
        await self.go.wait()
        if self.error is not None:
            raise self.error

    async def unary(self, request: PlaceOrderRequest, ctx: Context) -> PlaceOrderResponse:
        """Answer."""
        await self._wait(ctx)
        return REPLY

    async def upload(self, requests: AsyncIterable[Item], ctx: Context) -> Item:
        """Count."""
        count = len([each async for each in requests])
        await self._wait(ctx)
        return item(count)

    async def watch(self, request: Item, ctx: Context) -> AsyncIterator[Item]:
        """Yield one message, wait, and yield another."""
        yield item(1)
        await self._wait(ctx)
        yield item(2)

    async def talk(self, requests: AsyncIterable[Item], ctx: Context) -> AsyncIterator[Item]:
        """Echo, and wait."""
        async for each in requests:
            yield each
        await self._wait(ctx)

    def routes(self) -> tuple[MethodRoute[Any, Any], ...]:
        """Return a route of each shape."""
        return Routes((UNARY, self.unary), (UPLOAD, self.upload), (WATCH, self.watch), (TALK, self.talk)).routes()


async def _unary(channel: Channel, timeout: float | None = None) -> Any:
    return await channel.unary(UNARY)(REQUEST, timeout=timeout)


async def _upload(channel: Channel, timeout: float | None = None) -> Any:
    return await channel.client_stream(UPLOAD)(items(2), timeout=timeout)


async def _watch(channel: Channel, timeout: float | None = None) -> Any:
    return await numbers(channel.server_stream(WATCH)(item(0), timeout=timeout))


async def _talk(channel: Channel, timeout: float | None = None) -> Any:
    return await numbers(channel.bidi_stream(TALK)(items(2), timeout=timeout))


CALLS: dict[MethodKind, Callable[..., Any]] = {
    MethodKind.UNARY: _unary,
    MethodKind.CLIENT_STREAM: _upload,
    MethodKind.SERVER_STREAM: _watch,
    MethodKind.BIDI_STREAM: _talk,
}


async def entered(handlers: Blocking, count: int = 1) -> None:
    """Wait until so many handlers have begun."""
    async with asyncio.timeout(PATIENCE):
        for _ in range(count):
            await handlers.entered.get()


async def until_free(channel: Channel, handlers: Blocking) -> None:
    """Call until there is a place again: the server ends a call a little after its caller."""
    handlers.go.set()
    handlers.error = None
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                await _unary(channel)
            except RemoteError:
                await asyncio.sleep(0.005)
            else:
                return


async def refused(call: Awaitable[Any]) -> RemoteError:
    """Await a call that is turned away."""
    with pytest.raises(RemoteError) as caught:
        await call
    assert caught.value.code is Code.RESOURCE_EXHAUSTED
    return caught.value


async def labelled(channel: Channel, spec: MethodSpec[Any, Any] = UNARY, **labels: Any) -> Any:
    """Call a unary method with a priority or a tenant, below the policies of a client."""
    ctx = Context(spec, **labels).new_attempt(AttemptKind.FIRST)
    return await channel._transports[channel.targets[0]].service(spec)(REQUEST, ctx)


async def test_shedding_by_priority() -> None:
    """While handlers are stuck, sheddable calls are turned away first, then default ones; critical ones pass."""
    handlers, seen = Blocking(), Seen()
    async with (
        Server(handlers, shedding=SheddingOptions(limit=10), observe=seen, uniform=half) as server,
        Channel(server.address) as channel,
    ):
        running = [asyncio.create_task(_unary(channel)) for _ in range(9)]
        await entered(handlers, 9)
        error = await refused(labelled(channel, priority=Priority.SHEDDABLE))
        assert error.message.startswith("test.v1.Tests/Unary was turned away by an overloaded server")
        info, retry_info = error.details
        assert info == ErrorInfo(
            reason="OVERLOADED", domain="carrick", metadata={"cause": "limit", "priority": "sheddable"}
        )
        assert isinstance(retry_info, RetryInfo)
        assert retry_info.retry_delay.ToMilliseconds() == 100
        assert error.attempt is not None
        assert pushback(error.attempt.trailers) == 0.1
        await refused(_unary(channel))
        critical = asyncio.create_task(labelled(channel, priority=Priority.CRITICAL))
        await entered(handlers)
        handlers.go.set()
        assert await asyncio.gather(*running, critical) == [REPLY] * 10
    assert [each.priority for each in seen.observations if isinstance(each, CallShed)] == ["sheddable", "default"]
    assert handlers.handled == 10


@pytest.mark.parametrize("kind", CALLS)
async def test_a_call_holds_its_place_until_its_end(kind: MethodKind) -> None:
    """Of whatever shape it is."""
    handlers = Blocking()
    async with (
        Server(handlers, shedding=SheddingOptions(limit=1)) as server,
        Channel(server.address) as channel,
    ):
        running = asyncio.create_task(CALLS[kind](channel))
        await entered(handlers)
        await refused(_unary(channel))
        handlers.go.set()
        await running
        await until_free(channel, handlers)


@pytest.mark.parametrize("kind", CALLS)
async def test_a_failed_call_hands_its_place_back(kind: MethodKind) -> None:
    """The handler raises."""
    handlers = Blocking()
    async with (
        Server(handlers, shedding=SheddingOptions(limit=1)) as server,
        Channel(server.address) as channel,
    ):
        running = asyncio.create_task(CALLS[kind](channel))
        await entered(handlers)
        handlers.error = CarrickError(Code.NOT_FOUND, "as told")
        handlers.go.set()
        with pytest.raises(RemoteError, match="as told"):
            await running
        await until_free(channel, handlers)


@pytest.mark.parametrize("kind", CALLS)
async def test_a_cancelled_call_hands_its_place_back(kind: MethodKind) -> None:
    """The caller goes away."""
    handlers = Blocking()
    async with (
        Server(handlers, shedding=SheddingOptions(limit=1)) as server,
        Channel(server.address) as channel,
    ):
        running = asyncio.create_task(CALLS[kind](channel))
        await entered(handlers)
        running.cancel()
        await asyncio.wait((running,))
        assert running.cancelled()
        await until_free(channel, handlers)


@pytest.mark.parametrize("kind", CALLS)
async def test_a_call_past_its_deadline_hands_its_place_back(kind: MethodKind) -> None:
    """The handler is cancelled by gRPC."""
    handlers = Blocking()
    async with (
        Server(handlers, shedding=SheddingOptions(limit=1)) as server,
        Channel(server.address) as channel,
    ):
        with pytest.raises(DeadlineError):
            await CALLS[kind](channel, timeout=0.1)
        await until_free(channel, handlers)


async def test_a_call_in_the_queue_gets_the_next_place() -> None:
    """It waits behind a stuck handler and is handled when that ends."""
    handlers = Blocking()
    async with (
        Server(handlers, shedding=SheddingOptions(limit=1, max_queued=1, max_queue_time=PATIENCE)) as server,
        Channel(server.address) as channel,
    ):
        first = asyncio.create_task(_unary(channel))
        await entered(handlers)
        second = asyncio.create_task(_unary(channel))
        handlers.go.set()
        assert await first == await second == REPLY


async def test_a_call_whose_deadline_passes_in_the_queue_is_never_handled() -> None:
    """Its caller hears of the deadline, and its place in the queue is free again."""
    handlers = Blocking()
    async with (
        Server(handlers, shedding=SheddingOptions(limit=1, max_queued=1, max_queue_time=PATIENCE)) as server,
        Channel(server.address) as channel,
    ):
        running = asyncio.create_task(_unary(channel))
        await entered(handlers)
        with pytest.raises(DeadlineError):
            await _unary(channel, timeout=0.05)
        await asyncio.sleep(0.05)
        handlers.go.set()
        await running
        assert handlers.handled == 1


async def test_a_call_waits_no_longer_than_the_queue_allows() -> None:
    """It is turned away while its caller still waits."""
    handlers, seen = Blocking(), Seen()
    async with (
        Server(handlers, shedding=SheddingOptions(limit=1, max_queued=1, max_queue_time=0.02), observe=seen) as server,
        Channel(server.address) as channel,
    ):
        running = asyncio.create_task(_unary(channel))
        await entered(handlers)
        await refused(_unary(channel))
        handlers.go.set()
        await running
    assert [each.reason for each in seen.observations if isinstance(each, CallShed)] == ["queue_time"]


async def test_a_methods_own_limit_leaves_the_others_alone() -> None:
    """A contract can bound one method."""
    handlers = Blocking()
    bounded = method("Bounded", policy=MethodPolicy(shedding=SheddingOptions(limit=1)))
    async with (
        Server(Routes((bounded, handlers.unary), (PLAIN, handlers.unary))) as server,
        Channel(server.address) as channel,
    ):
        running = [asyncio.create_task(_await(channel.unary(bounded)(REQUEST)))]
        await entered(handlers)
        with pytest.raises(RemoteError, match="overloaded"):
            await channel.unary(bounded)(REQUEST)
        running.append(asyncio.create_task(_await(channel.unary(PLAIN)(REQUEST))))
        await entered(handlers)
        handlers.go.set()
        assert await asyncio.gather(*running) == [REPLY, REPLY]


async def _await(awaitable: Any) -> Any:
    return await awaitable


async def test_health_and_reflection_answer_at_the_limit() -> None:
    """A server that turns calls away is alive: if it said otherwise, the others would get its load on top."""
    handlers = Blocking()
    async with (
        Server(handlers, shedding=SheddingOptions(limit=1)) as server,
        Channel(server.address) as channel,
        grpc.aio.insecure_channel(server.address) as bare,
    ):
        running = asyncio.create_task(_unary(channel))
        await entered(handlers)
        await refused(_unary(channel))
        health: Any = health_pb2_grpc.HealthStub(bare)
        for service in ("", "test.v1.Tests"):
            reply = await health.Check(health_pb2.HealthCheckRequest(service=service))
            assert reply.status == health_pb2.HealthCheckResponse.SERVING
        watching = health.Watch(health_pb2.HealthCheckRequest())
        assert (await watching.read()).status == health_pb2.HealthCheckResponse.SERVING
        watching.cancel()
        reflection: Any = reflection_pb2_grpc
        listing = reflection.ServerReflectionStub(bare).ServerReflectionInfo(
            iter([reflection_pb2.ServerReflectionRequest(list_services="")])
        )
        assert (await listing.read()).list_services_response.service
        listing.cancel()
        handlers.go.set()
        await running


def block(seconds: float) -> None:
    """Hold up everything, as a handler does that calculates or waits without awaiting."""
    time.sleep(seconds)


async def test_a_blocked_event_loop_turns_calls_away() -> None:
    """While it lags, and when it is in time again no longer."""
    handlers, seen = Blocking(), Seen()
    handlers.go.set()
    async with (
        Server(handlers, shedding=SheddingOptions(max_loop_lag=0.2), observe=seen) as server,
        Channel(server.address) as channel,
    ):
        await _unary(channel)
        block(1.0)
        await refused(labelled(channel, priority=Priority.SHEDDABLE))
        await labelled(channel, priority=Priority.CRITICAL)
        await until_free(channel, handlers)
    assert "loop_lag" in {each.reason for each in seen.observations if isinstance(each, CallShed)}


@pytest.mark.parametrize("max_loop_lag", [None, 0.2])
async def test_the_loop_is_watched_only_where_that_is_asked_for(max_loop_lag: float | None) -> None:
    """By a task that ends with the server."""
    before = asyncio.all_tasks()
    policy = MethodPolicy(shedding=SheddingOptions(max_loop_lag=max_loop_lag))
    async with Server(Routes((method("Watched", policy=policy), Blocking().unary))):
        watching = [each for each in asyncio.all_tasks() - before if each.get_name() == "event loop lag"]
        assert len(watching) == (0 if max_loop_lag is None else 1)
    if watching:
        await asyncio.wait(watching, timeout=PATIENCE)
        assert watching[0].cancelled()


async def test_a_rate_limit_by_tenant() -> None:
    """A tenant that calls too often is refused until its next token comes; another one is not."""
    seen = Seen()
    limited = method(
        "Limited",
        policy=MethodPolicy(rate_limit=RateLimitOptions(per_second=0.01, burst=2, by=RateKey.TENANT)),
    )
    handlers = Blocking()
    handlers.go.set()
    async with (
        Server(Routes((limited, handlers.unary)), observe=seen) as server,
        Channel(server.address) as channel,
    ):
        assert [await labelled(channel, limited, tenant="acme") for _ in range(2)] == [REPLY, REPLY]
        error = await refused(labelled(channel, limited, tenant="acme"))
        assert await labelled(channel, limited, tenant="other") == REPLY
    assert "calls a second for each tenant" in error.message
    assert error.details[0] == ErrorInfo(reason="RATE_LIMITED", domain="carrick", metadata={"by": "tenant"})
    assert error.attempt is not None
    wait = pushback(error.attempt.trailers)
    assert wait is not None
    assert 90 < wait <= 100
    assert seen.observations == [RateLimited(method=limited.full_name, by="tenant")]


async def test_a_rate_limit_by_caller_counts_all_its_connections() -> None:
    """Whatever port each of them comes from."""
    limited = method(
        "Limited",
        policy=MethodPolicy(rate_limit=RateLimitOptions(per_second=0.01, burst=1, by=RateKey.CALLER)),
    )
    handlers = Blocking()
    handlers.go.set()
    async with Server(Routes((limited, handlers.unary))) as server:
        async with Channel(server.address) as channel:
            assert await channel.unary(limited)(REQUEST) == REPLY
        async with Channel(server.address) as channel:
            with pytest.raises(RemoteError, match="calls a second for each caller"):
                await channel.unary(limited)(REQUEST)


async def test_shedding_can_be_switched_off() -> None:
    """Then nothing bounds the calls."""
    handlers = Blocking()
    async with (
        Server(handlers, shedding=SheddingOptions(limit=1, enabled=False)) as server,
        Channel(server.address) as channel,
    ):
        running = [asyncio.create_task(_unary(channel)) for _ in range(5)]
        await entered(handlers, 5)
        handlers.go.set()
        assert await asyncio.gather(*running) == [REPLY] * 5


async def test_a_stop_ends_calls_in_the_queue() -> None:
    """They neither hang nor are handled after the server's grace has passed."""
    handlers = Blocking()
    server = Server(handlers, shedding=SheddingOptions(limit=1, max_queued=5, max_queue_time=PATIENCE), grace=0.05)
    async with server, Channel(server.address) as channel:
        calls = [asyncio.create_task(_unary(channel)) for _ in range(3)]
        await entered(handlers)
        async with asyncio.timeout(PATIENCE):
            await server.stop()
            ended = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(each, CarrickError) for each in ended)
    assert handlers.handled == 1
