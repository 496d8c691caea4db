"""Calls over real gRPC: what arrives, what is refused, what is cancelled, and what others can do with it."""

import asyncio
import logging
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import grpc.aio
import pytest
from google.rpc.error_details_pb2 import ErrorInfo
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from carrick import (
    BreakerOptions,
    CarrickError,
    Code,
    ConfigurationError,
    Context,
    DeadlineError,
    MethodPolicy,
    RejectedError,
    RemoteError,
    RetryOptions,
    TransportError,
    current,
)
from carrick.context import enter
from carrick.observe import BreakerOpened, Observation, RetryScheduled
from carrick.rpc import Channel, Server
from shop.orders.v1.orders_carrick import GET_ORDER, OrdersClient, OrdersServicer
from shop.orders.v1.orders_pb2 import (
    GetOrderRequest,
    GetOrderResponse,
    OrderLine,
    PlaceOrderRequest,
    PlaceOrderResponse,
)

ASK = GetOrderRequest(order_id="1")
PLACE = PlaceOrderRequest(customer_id="ann", lines=[OrderLine(sku="tea", quantity=1)])
Handler = Callable[[GetOrderRequest, Context], Awaitable[GetOrderResponse]]


class NoClaims:
    """A claim store for servicers whose keyed method is not called."""

    async def claim(self, *arguments: object) -> Any:
        """Is not called."""
        raise AssertionError

    async def release(self, claim: object) -> None:
        """Is not called."""
        raise AssertionError

    async def renew(self, *arguments: object) -> bool:
        """Is not called."""
        raise AssertionError

    async def refuse(self, *arguments: object) -> bool:
        """Is not called."""
        raise AssertionError

    async def purge(self, most: int = 500) -> int:
        """Have nothing to remove."""
        return 0


@dataclass
class Orders(OrdersServicer):
    """Answers GetOrder with a function, and remembers the contexts."""

    answer: Handler
    contexts: list[Context] = field(default_factory=list)

    async def get_order(self, request: GetOrderRequest, ctx: Context) -> GetOrderResponse:
        """Answer as told."""
        self.contexts.append(ctx)
        return await self.answer(request, ctx)

    async def place_order(self, request: PlaceOrderRequest, ctx: Context) -> PlaceOrderResponse:
        """Is not called."""
        raise AssertionError


async def echo(request: GetOrderRequest, ctx: Context) -> GetOrderResponse:
    """Answer at once."""
    return GetOrderResponse(order_id=request.order_id)


def serving(orders: Orders, **options: Any) -> Server:
    """Return a server of these orders on a free port."""
    return Server(orders, claims=NoClaims(), **options)


@asynccontextmanager
async def called(orders: Orders, **options: Any) -> AsyncIterator[OrdersClient]:
    """Serve, and give a client."""
    async with serving(orders) as server, Channel(server.address, **options) as channel:
        yield OrdersClient(channel)


async def test_a_call_is_answered() -> None:
    """Request and response go through, and the handler sees a complete context."""
    orders = Orders(echo)
    async with called(orders) as client:
        reply = await client.get_order(ASK, metadata=(("x-extra", "1"),))
    assert reply == GetOrderResponse(order_id="1")
    (ctx,) = orders.contexts
    assert ctx.method is GET_ORDER
    assert ctx.deadline is not None
    assert ctx.peer is not None
    assert ("x-extra", "1") in ctx.metadata


@pytest.mark.parametrize("timeout", [math.inf, 1e300, 1e12])
async def test_a_timeout_that_no_clock_holds_is_none(timeout: float) -> None:
    """The core would end such a call at once."""
    async with called(Orders(echo)) as client:
        assert await client.get_order(ASK, timeout=timeout) == GetOrderResponse(order_id="1")


async def test_an_error_carries_code_message_and_details() -> None:
    """What a handler raises arrives as it is, for people and for programs."""

    async def refuse(request: GetOrderRequest, ctx: Context) -> GetOrderResponse:
        raise CarrickError(Code.NOT_FOUND, "no such order", [ErrorInfo(reason="GONE", domain="shop")])

    async with called(Orders(refuse)) as client:
        with pytest.raises(RemoteError) as raised:
            await client.get_order(ASK)
    assert (raised.value.code, raised.value.message) == (Code.NOT_FOUND, "no such order")
    assert raised.value.details == (ErrorInfo(reason="GONE", domain="shop"),)


async def test_an_unknown_exception_tells_the_caller_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """The caller gets a correlation id; the traceback is in the log."""

    async def fail(request: GetOrderRequest, ctx: Context) -> GetOrderResponse:
        raise ValueError("the password is swordfish")

    async with called(Orders(fail)) as client:
        with pytest.raises(RemoteError) as raised, enter(Context(None, correlation_id="find-me")):
            await client.get_order(ASK)
    assert raised.value.code is Code.INTERNAL
    assert "swordfish" not in str(raised.value)
    assert "find-me" in raised.value.message
    (record,) = [record for record in caplog.records if record.exc_info and record.levelno == logging.ERROR]
    assert isinstance(record.exc_info, tuple)
    assert "swordfish" in str(record.exc_info[1])


async def test_the_deadline_ends_both_sides() -> None:
    """The client gets a DeadlineError, and the handler is cancelled."""
    cancelled = asyncio.Event()

    async def hang(request: GetOrderRequest, ctx: Context) -> GetOrderResponse:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
        raise AssertionError

    async with called(Orders(hang)) as client:
        with pytest.raises(DeadlineError):
            await client.get_order(ASK, timeout=0.1)
        async with asyncio.timeout(5):
            await cancelled.wait()


async def test_cancelling_the_caller_cancels_the_handler() -> None:
    """A cancelled task raises CancelledError and takes the handler with it."""
    begun, cancelled = asyncio.Event(), asyncio.Event()

    async def hang(request: GetOrderRequest, ctx: Context) -> GetOrderResponse:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
        raise AssertionError

    async with called(Orders(hang)) as client:
        call = asyncio.create_task(client.get_order(ASK))
        await begun.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        async with asyncio.timeout(5):
            await cancelled.wait()


async def test_deadline_and_correlation_id_go_through_three_hops() -> None:
    """A, called with two seconds, calls B, which calls C: each has that time and the same correlation id."""
    last = Orders(echo)
    async with serving(last) as c, Channel(c.address) as to_c:

        async def pass_on(request: GetOrderRequest, ctx: Context) -> GetOrderResponse:
            return await OrdersClient(to_c).get_order(request, timeout=60)

        middle = Orders(pass_on)
        async with serving(middle) as b, Channel(b.address) as to_b:

            async def pass_on_too(request: GetOrderRequest, ctx: Context) -> GetOrderResponse:
                return await OrdersClient(to_b).get_order(request)

            first = Orders(pass_on_too)
            async with serving(first) as a, Channel(a.address) as to_a:
                await OrdersClient(to_a).get_order(ASK, timeout=2)
    contexts = [orders.contexts[0] for orders in (first, middle, last)]
    assert len({ctx.correlation_id for ctx in contexts}) == 1
    loop_time = asyncio.get_running_loop().time()
    left = [ctx.remaining(loop_time) for ctx in contexts]
    assert all(each is not None and each < 2.5 for each in left)  # gRPC rounds a timeout up on the wire


async def test_a_handlers_deadline_bounds_what_it_calls() -> None:
    """A call made while handling, with a long timeout of its own, ends with the inherited deadline."""

    async def hang(request: GetOrderRequest, ctx: Context) -> GetOrderResponse:
        await asyncio.Event().wait()
        raise AssertionError

    async with called(Orders(hang)) as client:
        clock = asyncio.get_running_loop().time
        with enter(Context(None, deadline=clock() + 0.1)), pytest.raises(DeadlineError):
            await client.get_order(ASK, timeout=60)


async def test_what_may_pass_is_tried_again() -> None:
    """UNAVAILABLE twice, then an answer: the caller sees the answer, the server three attempts of one call."""

    async def twice_away(request: GetOrderRequest, ctx: Context) -> GetOrderResponse:
        if len(orders.contexts) < 3:
            raise CarrickError(Code.UNAVAILABLE, "not yet")
        return await echo(request, ctx)

    orders = Orders(twice_away)
    seen: list[Observation] = []
    async with called(orders, observe=seen.append) as client:
        assert await client.get_order(ASK) == GetOrderResponse(order_id="1")
    assert len({ctx.correlation_id for ctx in orders.contexts}) == 1
    attempts = [dict(ctx.metadata).get("x-carrick-attempt") for ctx in orders.contexts]
    assert attempts == [None, "2", "3"]
    assert [type(each) for each in seen] == [RetryScheduled, RetryScheduled]


async def test_a_dead_server_is_a_transport_error_and_opens_the_circuit() -> None:
    """Nobody listens: the first calls find out, the next are refused without being sent."""
    async with serving(Orders(echo)) as server:
        address = server.address
    seen: list[Observation] = []
    policy = MethodPolicy(
        timeout=1, retry=RetryOptions(max_attempts=1), breaker=BreakerOptions(min_calls=2, open_for=60)
    )
    async with Channel(address, policy=policy, observe=seen.append) as channel:
        client = OrdersClient(channel)
        for _ in range(2):
            with pytest.raises(TransportError) as raised:
                await client.get_order(ASK)
            assert raised.value.code is Code.UNAVAILABLE
        with pytest.raises(RejectedError) as refused:
            await client.get_order(ASK)
        state = channel.breaker(GET_ORDER)
    assert refused.value.attempt is not None
    assert not refused.value.attempt.sent
    assert state is not None
    assert state.state == "open"
    assert [type(each) for each in seen] == [BreakerOpened]


async def test_a_closed_channel_is_no_cancellation() -> None:
    """Closing the channel under a call gives the caller an error, and its task goes on."""
    begun = asyncio.Event()

    async def hang(request: GetOrderRequest, ctx: Context) -> GetOrderResponse:
        begun.set()
        await asyncio.Event().wait()
        raise AssertionError

    async with serving(Orders(hang), grace=0.1) as server:
        channel = Channel(server.address)
        call = asyncio.create_task(OrdersClient(channel).get_order(ASK, timeout=30))
        await begun.wait()
        await channel.close()
        with pytest.raises(TransportError) as raised:
            await call
    assert raised.value.code is Code.CANCELLED


async def test_a_message_above_the_limit_is_refused() -> None:
    """The server's limit holds before the handler is reached."""
    orders = Orders(echo)
    async with serving(orders, max_message_bytes=1000) as server, Channel(server.address) as channel:
        with pytest.raises(CarrickError) as raised:
            await OrdersClient(channel).get_order(GetOrderRequest(order_id="x" * 2000))
    assert raised.value.code is Code.RESOURCE_EXHAUSTED
    assert orders.contexts == []


async def test_a_bad_idempotency_key_is_refused() -> None:
    """On the client before it is sent, on the server when another client sends it."""
    async with serving(Orders(echo)) as server, Channel(server.address) as channel:
        with pytest.raises(CarrickError, match="visible ASCII") as raised:
            await OrdersClient(channel).place_order(PLACE, key="with space")
        assert raised.value.code is Code.INVALID_ARGUMENT
        async with grpc.aio.insecure_channel(server.address) as bare:
            invoke = bare.unary_unary(
                "/shop.orders.v1.Orders/PlaceOrder",
                request_serializer=PlaceOrderRequest.SerializeToString,
                response_deserializer=PlaceOrderResponse.FromString,
            )
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await invoke(PLACE, metadata=(("idempotency-key", "x" * 200),))
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_taken_port_is_said() -> None:
    """The second server on a port fails at its start, with what to do."""
    async with serving(Orders(echo)) as server:
        second = serving(Orders(echo), port=server.port)
        with pytest.raises(ConfigurationError, match="port taken"):
            await second.start()


def test_a_keyed_method_needs_a_place_for_its_records() -> None:
    """A server without claims is refused when it is made, not when the first call comes."""
    with pytest.raises(ConfigurationError, match="claims="):
        Server(Orders(echo))


async def test_health_turns_before_the_last_call_is_finished() -> None:
    """At a stop watchers hear NOT_SERVING, new calls are refused, the running one is answered."""
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slow(request: GetOrderRequest, ctx: Context) -> GetOrderResponse:
        begun.set()
        await go_on.wait()
        return await echo(request, ctx)

    server = serving(Orders(slow))
    await server.start()
    async with Channel(server.address) as channel, grpc.aio.insecure_channel(server.address) as bare:
        health: Any = health_pb2_grpc.HealthStub(bare)
        watch = health.Watch(health_pb2.HealthCheckRequest(service="shop.orders.v1.Orders"))
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
        call = asyncio.create_task(OrdersClient(channel).get_order(ASK))
        await begun.wait()
        stopping = asyncio.create_task(server.stop())
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
        assert not call.done()
        go_on.set()
        assert await call == GetOrderResponse(order_id="1")
        async with asyncio.timeout(5):  # far below the grace of 10 s: the watcher does not hold it up
            await stopping


async def test_a_call_that_outlives_the_grace_is_cancelled() -> None:
    """A handler that hangs does not hold a stop up for ever."""
    begun, cancelled = asyncio.Event(), asyncio.Event()

    async def hang(request: GetOrderRequest, ctx: Context) -> GetOrderResponse:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
        raise AssertionError

    server = serving(Orders(hang), grace=0.2)
    await server.start()
    policy = MethodPolicy(timeout=30, retry=RetryOptions(max_attempts=1))
    async with Channel(server.address, policy=policy) as channel:
        call = asyncio.create_task(OrdersClient(channel).get_order(ASK))
        await begun.wait()
        await server.stop()
        await cancelled.wait()
        with pytest.raises(CarrickError):
            await call


async def test_reflection_lists_the_services() -> None:
    """Tools can find out what a server has."""
    async with serving(Orders(echo)) as server, grpc.aio.insecure_channel(server.address) as bare:
        stub: Any = reflection_pb2_grpc.ServerReflectionStub(bare)  # type: ignore[arg-type]
        stream = stub.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(list_services="")]))
        answer = await stream.read()
        names = {service.name for service in answer.list_services_response.service}
    assert {"shop.orders.v1.Orders", "grpc.health.v1.Health"} <= names


async def test_no_method_is_registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Health and reflection are found by name, since registered methods would make every call dearer."""

    def refuse(server: object, service: str, handlers: object) -> None:
        raise AssertionError(f"{service} is registered")

    monkeypatch.setattr(type(grpc.aio.server()), "add_registered_method_handlers", refuse)
    async with serving(Orders(echo)):
        pass


async def test_a_client_without_carrick_can_call() -> None:
    """A bare grpc.aio client needs none of the framework's metadata."""
    orders = Orders(echo)
    async with serving(orders) as server, grpc.aio.insecure_channel(server.address) as bare:
        invoke = bare.unary_unary(
            "/shop.orders.v1.Orders/GetOrder",
            request_serializer=GetOrderRequest.SerializeToString,
            response_deserializer=GetOrderResponse.FromString,
        )
        assert await invoke(ASK) == GetOrderResponse(order_id="1")
    assert orders.contexts[0].deadline is None
    assert orders.contexts[0].correlation_id


async def test_a_server_without_carrick_can_be_called() -> None:
    """A bare grpc.aio server's answers and statuses are understood."""

    async def answer(request: GetOrderRequest, context: Any) -> GetOrderResponse:
        if request.order_id == "missing":
            await context.abort(grpc.StatusCode.NOT_FOUND, "no such order")
        return GetOrderResponse(order_id=request.order_id)

    server = grpc.aio.server()
    handler = grpc.unary_unary_rpc_method_handler(
        answer,
        request_deserializer=GetOrderRequest.FromString,
        response_serializer=GetOrderResponse.SerializeToString,
    )
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("shop.orders.v1.Orders", {"GetOrder": handler}),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with Channel(f"127.0.0.1:{port}") as channel:
            client = OrdersClient(channel)
            assert await client.get_order(ASK) == GetOrderResponse(order_id="1")
            with pytest.raises(RemoteError) as raised:
                await client.get_order(GetOrderRequest(order_id="missing"))
    finally:
        await server.stop(0)
    assert (raised.value.code, raised.value.message) == (Code.NOT_FOUND, "no such order")


async def test_handling_the_same_call_again_gives_the_same_outgoing_keys() -> None:
    """The keys of calls made while handling follow from the inbound key."""
    keys = []
    for _ in range(2):
        with enter(Context(None, key="inbound")):
            ctx = current()
            assert ctx is not None
            keys.append([ctx.outgoing_key("a.B/C"), ctx.outgoing_key("a.B/C"), ctx.outgoing_key("a.B/C", "named")])
    assert keys[0] == keys[1]
    assert len(set(keys[0])) == 3


@pytest.mark.parametrize("reply", [None, PlaceOrderResponse(order_id="swordfish")])
async def test_a_handler_that_returns_something_else_is_at_fault(
    reply: object, caplog: pytest.LogCaptureFixture
) -> None:
    """The caller learns nothing but the correlation id; the log says what type was returned, not what it held."""

    async def mistaken(request: GetOrderRequest, ctx: Context) -> Any:
        return reply

    async with called(Orders(mistaken)) as client:
        with pytest.raises(RemoteError) as raised:
            await client.get_order(ASK)
    assert raised.value.code is Code.INTERNAL
    assert f"returned something of type {type(reply).__name__}, not a GetOrderResponse" in caplog.text
    assert "swordfish" not in caplog.text


async def test_a_request_of_another_type_is_not_sent() -> None:
    """GRPC would send an empty message in its place."""
    orders = Orders(echo)
    async with called(orders) as client:
        for wrong in ({"order_id": "1"}, PlaceOrderRequest(), GetOrderRequest):
            with pytest.raises(TypeError, match="takes a GetOrderRequest"):
                await client.get_order(wrong)  # type: ignore[arg-type]
    assert orders.contexts == []


async def test_a_stop_waits_for_a_cancelled_handler_to_clean_up() -> None:
    """For gRPC a call is over when its deadline passes; the stop waits until its handler has rolled back."""
    cleaning, clean = asyncio.Event(), asyncio.Event()

    async def slow_to_end(request: GetOrderRequest, ctx: Context) -> GetOrderResponse:
        try:
            await asyncio.Event().wait()
        finally:
            cleaning.set()
            await asyncio.sleep(0.3)
            clean.set()
        raise AssertionError

    server = serving(Orders(slow_to_end))
    await server.start()
    async with Channel(server.address) as channel:
        with pytest.raises(DeadlineError):
            await OrdersClient(channel).get_order(ASK, timeout=0.1)
    await cleaning.wait()
    await server.stop()
    assert clean.is_set()


async def test_a_cancellation_that_leaks_from_a_library_is_a_failure() -> None:
    """A handler that lets somebody else's CancelledError pass answers INTERNAL; its caller is not left waiting."""

    async def leak(request: GetOrderRequest, ctx: Context) -> GetOrderResponse:
        raise asyncio.CancelledError

    async with called(Orders(leak)) as client:
        with pytest.raises(RemoteError) as raised:
            await client.get_order(ASK, timeout=5)
    assert raised.value.code is Code.INTERNAL


async def test_calls_at_once_see_their_own_metadata_only() -> None:
    """Neither what came in nor the current context is another call's, from the first line of a handler to the last."""

    async def own(request: GetOrderRequest, ctx: Context) -> GetOrderResponse:
        await asyncio.sleep(0.001 * (int(request.order_id) % 7))
        inside = current()
        told = str(dict(ctx.metadata)["x-extra"])
        again = str(dict(inside.metadata)["x-extra"]) if inside else ""
        return GetOrderResponse(order_id=f"{told} {inside is ctx} {again}")

    numbers = [str(number) for number in range(100)]
    async with called(Orders(own)) as client:
        replies = await asyncio.gather(
            *(client.get_order(GetOrderRequest(order_id=each), metadata=(("x-extra", each),)) for each in numbers)
        )
    assert [reply.order_id for reply in replies] == [f"{each} True {each}" for each in numbers]


async def test_metadata_that_came_in_may_be_handed_on() -> None:
    """A handler that passes its caller's metadata on does not send the framework's own words twice."""
    last = Orders(echo)
    async with called(last) as client:
        words = (("x-correlation-id", "stale"), ("user-agent", "other"), ("x-extra", "1"))
        with enter(Context(None, correlation_id="fresh")):
            await client.get_order(ASK, metadata=words)
    assert last.contexts[0].correlation_id == "fresh"
    assert [value for name, value in last.contexts[0].metadata if name == "x-correlation-id"] == ["fresh"]
    assert ("x-extra", "1") in last.contexts[0].metadata


async def test_a_message_of_many_bytes_still_arrives_as_its_status() -> None:
    """A status is cut by bytes: a peer would drop one that is too large, and see RESOURCE_EXHAUSTED."""

    async def refuse(request: GetOrderRequest, ctx: Context) -> GetOrderResponse:
        raise CarrickError(Code.INVALID_ARGUMENT, "😀" * 2000, [ErrorInfo(reason="x" * 2000)])

    async with called(Orders(refuse)) as client:
        for _ in range(5):
            with pytest.raises(RemoteError) as raised:
                await client.get_order(ASK)
            assert raised.value.code is Code.INVALID_ARGUMENT
