"""Shedding and rate limits over real gRPC."""

import asyncio
import time
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
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
ONE_PLACE = SheddingOptions(limit=1)
ONE_IN_THE_QUEUE = SheddingOptions(limit=1, max_queued=1, max_queue_time=PATIENCE)


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


class Served:
    """A server whose handlers block, what its observer saw, and a channel to it."""

    def __init__(self, server: Server, channel: Channel, handlers: Blocking, seen: Seen) -> None:
        self.server = server
        self.channel = channel
        self.handlers = handlers
        self.seen = seen

    @property
    def shed(self) -> list[CallShed]:
        """The calls that were turned away."""
        return [each for each in self.seen.observations if isinstance(each, CallShed)]

    async def begin(self, call: Awaitable[Any] | None = None) -> "asyncio.Future[Any]":
        """Make a call, a unary one unless told, and return it when its handler has begun."""
        begun = asyncio.ensure_future(_unary(self.channel) if call is None else call)
        await self.entered()
        return begun

    async def entered(self) -> None:
        """Wait until another handler has begun."""
        async with asyncio.timeout(PATIENCE):
            await self.handlers.entered.get()

    def labelled(self, spec: MethodSpec[Any, Any] = UNARY, **labels: Any) -> Awaitable[Any]:
        """Call a unary method with a priority or a tenant, below the policies of a client."""
        ctx = Context(spec, **labels).new_attempt(AttemptKind.FIRST)
        return self.channel._transports[self.channel.targets[0]].service(spec)(REQUEST, ctx)

    async def until_free(self) -> None:
        """Call until there is a place again: the server ends a call a little after its caller."""
        self.handlers.go.set()
        self.handlers.error = None
        async with asyncio.timeout(PATIENCE):
            while True:
                try:
                    await _unary(self.channel)
                except RemoteError:
                    await asyncio.sleep(0.005)
                else:
                    return


@asynccontextmanager
async def served(*methods: MethodSpec[Any, Any], **options: Any) -> AsyncIterator[Served]:
    """Serve some unary methods, or else one of each shape; the options are the server's."""
    handlers, seen = Blocking(), Seen()
    servicer = Routes(*((spec, handlers.unary) for spec in methods)) if methods else handlers
    async with (
        Server(servicer, observe=seen, uniform=half, **options) as server,
        Channel(server.address) as channel,
    ):
        yield Served(server, channel, handlers, seen)


async def refused(call: Awaitable[Any]) -> RemoteError:
    """Await a call that is turned away."""
    with pytest.raises(RemoteError) as caught:
        await call
    assert caught.value.code is Code.RESOURCE_EXHAUSTED
    return caught.value


async def test_shedding_by_priority() -> None:
    """While handlers are stuck, sheddable calls are turned away first, then default ones; critical ones pass."""
    async with served(shedding=SheddingOptions(limit=10)) as service:
        running = [await service.begin() for _ in range(9)]
        error = await refused(service.labelled(priority=Priority.SHEDDABLE))
        assert error.message.startswith("test.v1.Tests/Unary was turned away by an overloaded server")
        info, retry_info = error.details
        assert info == ErrorInfo(
            reason="OVERLOADED", domain="carrick", metadata={"cause": "limit", "priority": "sheddable"}
        )
        assert isinstance(retry_info, RetryInfo)
        assert retry_info.retry_delay.ToMilliseconds() == 100
        assert error.attempt is not None
        assert pushback(error.attempt.trailers) == 0.1
        await refused(_unary(service.channel))
        critical = await service.begin(service.labelled(priority=Priority.CRITICAL))
        service.handlers.go.set()
        assert await asyncio.gather(*running, critical) == [REPLY] * 10
    assert [each.priority for each in service.shed] == ["sheddable", "default"]
    assert service.handlers.handled == 10


@pytest.mark.parametrize("kind", CALLS)
async def test_a_call_holds_its_place_until_its_end(kind: MethodKind) -> None:
    """Of whatever shape it is."""
    async with served(shedding=ONE_PLACE) as service:
        running = await service.begin(CALLS[kind](service.channel))
        await refused(_unary(service.channel))
        service.handlers.go.set()
        await running
        await service.until_free()


@pytest.mark.parametrize("kind", CALLS)
async def test_a_failed_call_hands_its_place_back(kind: MethodKind) -> None:
    """The handler raises."""
    async with served(shedding=ONE_PLACE) as service:
        running = await service.begin(CALLS[kind](service.channel))
        service.handlers.error = CarrickError(Code.NOT_FOUND, "as told")
        service.handlers.go.set()
        with pytest.raises(RemoteError, match="as told"):
            await running
        await service.until_free()


@pytest.mark.parametrize("kind", CALLS)
async def test_a_cancelled_call_hands_its_place_back(kind: MethodKind) -> None:
    """The caller goes away."""
    async with served(shedding=ONE_PLACE) as service:
        running = await service.begin(CALLS[kind](service.channel))
        running.cancel()
        await asyncio.wait((running,))
        assert running.cancelled()
        await service.until_free()


@pytest.mark.parametrize("kind", CALLS)
async def test_a_call_past_its_deadline_hands_its_place_back(kind: MethodKind) -> None:
    """The handler is cancelled by gRPC."""
    async with served(shedding=ONE_PLACE) as service:
        with pytest.raises(DeadlineError):
            await CALLS[kind](service.channel, timeout=0.1)
        await service.until_free()


async def test_a_call_in_the_queue_gets_the_next_place() -> None:
    """It waits behind a stuck handler and is handled when that ends."""
    async with served(shedding=ONE_IN_THE_QUEUE) as service:
        first = await service.begin()
        second = asyncio.create_task(_unary(service.channel))
        service.handlers.go.set()
        assert await first == await second == REPLY


async def test_a_call_whose_deadline_passes_in_the_queue_is_never_handled() -> None:
    """Its caller hears of the deadline, and its place in the queue is free again."""
    async with served(shedding=ONE_IN_THE_QUEUE) as service:
        running = await service.begin()
        with pytest.raises(DeadlineError):
            await _unary(service.channel, timeout=0.05)
        await asyncio.sleep(0.05)
        service.handlers.go.set()
        await running
        assert service.handlers.handled == 1


async def test_a_call_waits_no_longer_than_the_queue_allows() -> None:
    """It is turned away while its caller still waits."""
    async with served(shedding=SheddingOptions(limit=1, max_queued=1, max_queue_time=0.02)) as service:
        running = await service.begin()
        await refused(_unary(service.channel))
        service.handlers.go.set()
        await running
    assert [each.reason for each in service.shed] == ["queue_time"]


async def test_a_methods_own_limit_leaves_the_others_alone() -> None:
    """A contract can bound one method."""
    bounded = method("Bounded", policy=MethodPolicy(shedding=ONE_PLACE))
    async with served(bounded, PLAIN) as service:
        running = [await service.begin(service.channel.unary(bounded)(REQUEST))]
        with pytest.raises(RemoteError, match="overloaded"):
            await service.channel.unary(bounded)(REQUEST)
        running.append(await service.begin(service.channel.unary(PLAIN)(REQUEST)))
        service.handlers.go.set()
        assert await asyncio.gather(*running) == [REPLY, REPLY]


async def test_health_and_reflection_answer_at_the_limit() -> None:
    """A server that turns calls away is alive: if it said otherwise, the others would get its load on top."""
    async with (
        served(shedding=ONE_PLACE) as service,
        grpc.aio.insecure_channel(service.server.address) as bare,
    ):
        running = await service.begin()
        await refused(_unary(service.channel))
        health: Any = health_pb2_grpc.HealthStub(bare)
        for name in ("", "test.v1.Tests"):
            reply = await health.Check(health_pb2.HealthCheckRequest(service=name))
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
        service.handlers.go.set()
        await running


def block(seconds: float) -> None:
    """Hold up everything, as a handler does that calculates or waits without awaiting."""
    time.sleep(seconds)


async def test_a_blocked_event_loop_turns_calls_away() -> None:
    """While it lags, and when it is in time again no longer."""
    async with served(shedding=SheddingOptions(max_loop_lag=0.2)) as service:
        service.handlers.go.set()
        await _unary(service.channel)
        block(1.0)
        await refused(service.labelled(priority=Priority.SHEDDABLE))
        await service.labelled(priority=Priority.CRITICAL)
        await service.until_free()
    assert "loop_lag" in {each.reason for each in service.shed}


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
    limited = method(
        "Limited",
        policy=MethodPolicy(rate_limit=RateLimitOptions(per_second=0.01, burst=2, by=RateKey.TENANT)),
    )
    async with served(limited) as service:
        service.handlers.go.set()
        assert [await service.labelled(limited, tenant="acme") for _ in range(2)] == [REPLY, REPLY]
        error = await refused(service.labelled(limited, tenant="acme"))
        assert await service.labelled(limited, tenant="other") == REPLY
    assert "calls a second for each tenant" in error.message
    assert error.details[0] == ErrorInfo(reason="RATE_LIMITED", domain="carrick", metadata={"by": "tenant"})
    assert error.attempt is not None
    wait = pushback(error.attempt.trailers)
    assert wait is not None
    assert 90 < wait <= 100
    assert service.seen.observations == [RateLimited(method=limited.full_name, by="tenant")]


async def test_a_rate_limit_by_caller_counts_all_its_connections() -> None:
    """Whatever port each of them comes from."""
    limited = method(
        "Limited",
        policy=MethodPolicy(rate_limit=RateLimitOptions(per_second=0.01, burst=1, by=RateKey.CALLER)),
    )
    async with served(limited) as service:
        service.handlers.go.set()
        assert await service.channel.unary(limited)(REQUEST) == REPLY
        async with Channel(service.server.address) as another:
            with pytest.raises(RemoteError, match="calls a second for each caller"):
                await another.unary(limited)(REQUEST)


async def test_shedding_can_be_switched_off() -> None:
    """Then nothing bounds the calls."""
    async with served(shedding=SheddingOptions(limit=1, enabled=False)) as service:
        running = [await service.begin() for _ in range(5)]
        service.handlers.go.set()
        assert await asyncio.gather(*running) == [REPLY] * 5


async def test_a_stop_ends_calls_in_the_queue() -> None:
    """They neither hang nor are handled after the server's grace has passed."""
    options = SheddingOptions(limit=1, max_queued=5, max_queue_time=PATIENCE)
    async with served(shedding=options, grace=0.05) as service:
        calls = [asyncio.create_task(_unary(service.channel)) for _ in range(3)]
        await service.entered()
        async with asyncio.timeout(PATIENCE):
            await service.server.stop()
            ended = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(each, CarrickError) for each in ended)
    assert service.handlers.handled == 1
