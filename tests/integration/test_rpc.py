"""Calls over real gRPC: ids and keys through several processes' worth of hops, and connections that go away."""

import asyncio
import io
import json
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from carrick import (
    CarrickError,
    Code,
    ConfigurationError,
    Context,
    MethodRoute,
    MethodSpec,
    RemoteError,
    TransportError,
)
from carrick.claim import Claim, Claimed, ClaimOutcome, InFlight
from carrick.context import enter
from carrick.observe import RetryScheduled
from carrick.options import IdempotencyOptions, KeyRule, MethodPolicy, RetryOptions
from carrick.rpc import Channel, Server
from carrick.telemetry.logs import JsonFormatter, WithCorrelation
from shop.orders.v1.orders_pb2 import PlaceOrderRequest, PlaceOrderResponse
from tests.unit.calls import KEYED, PLAIN, REPEATABLE, REPLY, REQUEST, Hanging, Seen, method

Handler = Callable[[PlaceOrderRequest, Context], Awaitable[PlaceOrderResponse]]


class Routes:
    """A servicer of some of the test's methods."""

    def __init__(self, *routes: tuple[MethodSpec[PlaceOrderRequest, PlaceOrderResponse], Handler]) -> None:
        self._routes = tuple(MethodRoute(spec, handler) for spec, handler in routes)

    def routes(self) -> tuple[MethodRoute[PlaceOrderRequest, PlaceOrderResponse], ...]:
        """Return the routes given."""
        return self._routes


class Records:
    """A claim store in memory; its first ``busy`` answers are that somebody else holds the key."""

    def __init__(self, busy: int = 0) -> None:
        self.keys: list[str] = []
        self.released: list[str] = []
        self._busy = busy

    async def claim(self, of: MethodSpec[Any, Any], key: str, fingerprint: bytes, lease: float) -> ClaimOutcome:
        """Give the key, or not yet."""
        self.keys.append(key)
        self._busy -= 1
        return InFlight(0.02) if self._busy >= 0 else Claimed(Claim(of, key, "token"))

    async def release(self, claim: Claim) -> None:
        """Take the key back."""
        self.released.append(claim.key)

    async def renew(self, claim: Claim, lease: float) -> bool:
        """Hold it longer."""
        return True

    async def refuse(self, claim: Claim, status: bytes) -> bool:
        """Record an error."""
        return True

    async def purge(self, most: int = 500) -> int:
        """Have nothing to remove."""
        return 0


async def done(request: PlaceOrderRequest, ctx: Context) -> PlaceOrderResponse:
    """Answer as a handler does whose transaction has committed."""
    if ctx.call.claim is not None:
        ctx.call.claim.fulfil()
    return REPLY


async def test_keys_and_cause_go_through_the_hops() -> None:
    """A keyed call that is handled twice makes the same keyed calls both times, all the way down."""
    last = Records()
    seen: list[Context] = []

    async def leaf(request: PlaceOrderRequest, ctx: Context) -> PlaceOrderResponse:
        seen.append(ctx)
        return await done(request, ctx)

    async with Server(Routes((KEYED, leaf)), claims=last) as c, Channel(c.address) as to_c:
        call_c = to_c.unary(KEYED)

        async def middle(request: PlaceOrderRequest, ctx: Context) -> PlaceOrderResponse:
            await call_c(request)
            await call_c(request)
            return await done(request, ctx)

        async with Server(Routes((KEYED, middle)), claims=Records()) as b, Channel(b.address) as to_b:
            call_b = to_b.unary(KEYED)
            for _ in range(2):
                await call_b(REQUEST, key="inbound")

    first, again = last.keys[:2], last.keys[2:]
    assert first == again
    assert len(set(first)) == 2
    assert {ctx.causation_id for ctx in seen} == {"inbound"}


async def test_a_key_is_made_where_none_came_and_is_the_same_in_every_attempt() -> None:
    """A caller outside of any call gets a random key, which its retries repeat."""
    keys: list[str | None] = []

    async def failing(request: PlaceOrderRequest, ctx: Context) -> PlaceOrderResponse:
        keys.append(ctx.key)
        if len(keys) % 2:
            raise CarrickError(Code.UNAVAILABLE, "not yet")
        return await done(request, ctx)

    async with (
        Server(Routes((KEYED, failing)), claims=Records()) as server,
        Channel(server.address, policy=MethodPolicy(retry=RetryOptions(initial_backoff=0.001))) as channel,
    ):
        call = channel.unary(KEYED)
        await call(REQUEST)
        await call(REQUEST)

    assert keys[0] == keys[1]
    assert keys[2] == keys[3]
    assert keys[0] != keys[2]
    assert keys[0] is not None


async def test_a_key_in_flight_is_tried_again_after_the_servers_wait() -> None:
    """The server's pushback reaches the client's retry, and the call succeeds."""
    records, seen = Records(busy=1), Seen()
    async with (
        Server(Routes((KEYED, done)), claims=records) as server,
        Channel(
            server.address,
            policy=MethodPolicy(retry=RetryOptions(initial_backoff=60.0, max_backoff=60.0)),
            observe=seen,
        ) as channel,
    ):
        assert await channel.unary(KEYED)(REQUEST, key="k") == REPLY

    assert records.keys == ["k", "k"]
    assert seen.observations == [RetryScheduled(method=KEYED.full_name, attempt=1, code="ABORTED", delay=0.02)]


async def test_a_keyed_call_that_is_cancelled_frees_its_key() -> None:
    """The caller goes away, the handler is cancelled, and the key can be claimed again."""
    records, hanging = Records(), Hanging()
    async with Server(Routes((KEYED, hanging)), claims=records) as server, Channel(server.address) as channel:
        call = asyncio.ensure_future(channel.unary(KEYED)(REQUEST, key="k"))
        await hanging.entered.wait()
        call.cancel()
        await asyncio.wait((call,))
        assert call.cancelled()
        async with asyncio.timeout(10):
            while not records.released:  # noqa: ASYNC110  # the server hears of it when it does
                await asyncio.sleep(0.005)
    assert records.released == ["k"]


async def test_a_call_on_a_closed_channel_is_a_transport_error() -> None:
    """A channel that was closed refuses calls in our own words, and sends nothing."""
    async with Server(Routes((PLAIN, done))) as server:
        channel = Channel(server.address)
        call = channel.unary(PLAIN)
        await call(REQUEST)
        await channel.close()
        await channel.close()

        with pytest.raises(TransportError, match="closed") as caught:
            await call(REQUEST)

    assert caught.value.attempt is not None
    assert not caught.value.attempt.sent


async def test_a_server_that_dies_during_a_call_is_a_transport_error() -> None:
    """A call whose server is cut off ends with UNAVAILABLE or CANCELLED, and the caller's task lives."""
    hanging = Hanging()
    server = Server(Routes((PLAIN, hanging)), grace=0.0)
    await server.start()
    async with Channel(server.address) as channel:
        call = asyncio.ensure_future(channel.unary(PLAIN)(REQUEST))
        await hanging.entered.wait()
        await server.stop()
        with pytest.raises(CarrickError) as caught:
            await call
    assert caught.value.code in (Code.UNAVAILABLE, Code.CANCELLED)
    assert caught.value.attempt is not None
    assert caught.value.attempt.sent


async def test_a_restarted_server_is_found_again() -> None:
    """One channel outlives its peer: calls fail meanwhile, then go through."""
    first = Server(Routes((REPEATABLE, done)))
    await first.start()
    async with Channel(
        first.address, policy=MethodPolicy(timeout=10.0, retry=RetryOptions(max_attempts=100, max_backoff=0.1))
    ) as channel:
        call = channel.unary(REPEATABLE)
        await call(REQUEST)
        await first.stop()
        waiting = asyncio.ensure_future(call(REQUEST))
        async with Server(Routes((REPEATABLE, done)), port=first.port):
            assert await waiting == REPLY


async def test_idle_watchers_hear_of_the_stop_too() -> None:
    """Where no call is running, a watcher is still told NOT_SERVING before its stream ends."""
    server = Server(Routes((PLAIN, done)))
    await server.start()
    async with grpc.aio.insecure_channel(server.address) as bare:
        health: Any = health_pb2_grpc.HealthStub(bare)
        check = await health.Check(health_pb2.HealthCheckRequest(service="test.v1.Tests"))
        assert check.status == health_pb2.HealthCheckResponse.SERVING
        watch = health.Watch(health_pb2.HealthCheckRequest())
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
        async with asyncio.timeout(5):
            await server.stop()
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING


async def test_the_handlers_lines_and_its_traceback_have_the_correlation_id() -> None:
    """What a third party's logger writes while a call is handled can be found by the id that the caller was told."""
    lines = io.StringIO()
    handler = logging.StreamHandler(lines)
    handler.addFilter(WithCorrelation("tests"))
    handler.setFormatter(JsonFormatter())
    third_party = logging.getLogger("somebody.elses")

    async def failing(request: PlaceOrderRequest, ctx: Context) -> PlaceOrderResponse:
        third_party.warning("about to fail")
        raise KeyError("swordfish")

    logging.getLogger().addHandler(handler)
    try:
        async with Server(Routes((PLAIN, failing))) as server, Channel(server.address) as channel:
            with pytest.raises(RemoteError) as caught, enter(Context(None, correlation_id="find-me")):
                await channel.unary(PLAIN)(REQUEST)
    finally:
        logging.getLogger().removeHandler(handler)

    assert "swordfish" not in str(caught.value)
    found = [line for line in map(json.loads, lines.getvalue().splitlines()) if line.get("correlation_id") == "find-me"]
    assert [line["logger"] for line in found] == ["somebody.elses", "carrick.server"]
    assert "swordfish" in found[1]["exception"]


async def test_concurrent_calls_keep_their_contexts_apart() -> None:
    """Fifty calls at once: each handler sees its own caller's id while it waits."""
    meet = asyncio.Barrier(50)

    async def handler(request: PlaceOrderRequest, ctx: Context) -> PlaceOrderResponse:
        await meet.wait()
        return PlaceOrderResponse(order_id=ctx.correlation_id)

    async with Server(Routes((PLAIN, handler))) as server, Channel(server.address) as channel:
        call = channel.unary(PLAIN)

        async def one(name: str) -> str:
            with enter(Context(None, correlation_id=name)):
                return (await call(REQUEST)).order_id

        names = [f"call-{number}" for number in range(50)]
        async with asyncio.timeout(20):
            assert await asyncio.gather(*map(one, names)) == names


async def test_a_method_that_nobody_serves_is_unimplemented() -> None:
    """The peer's own status comes through for what it does not have."""
    async with Server(Routes((PLAIN, done))) as server, Channel(server.address) as channel:
        with pytest.raises(RemoteError) as caught:
            await channel.unary(method("Unknown"))(REQUEST)
    assert caught.value.code is Code.UNIMPLEMENTED


async def test_an_optional_key_is_sent_by_the_client() -> None:
    """Generated clients send a key wherever a rule is given."""
    optional = method("Optional", policy=MethodPolicy(idempotency=IdempotencyOptions(key=KeyRule.OPTIONAL)))
    records = Records()
    async with Server(Routes((optional, done)), claims=records) as server, Channel(server.address) as channel:
        await channel.unary(optional)(REQUEST)
    assert len(records.keys) == 1


async def test_a_method_has_one_handler() -> None:
    """Two servicers of a method are refused, and so is one of the server's own services."""
    health = MethodSpec(
        service="grpc.health.v1.Health",
        name="Check",
        request=health_pb2.HealthCheckRequest,
        response=health_pb2.HealthCheckResponse,
    )
    with pytest.raises(ConfigurationError, match="Plain has two handlers"):
        Server(Routes((PLAIN, done)), Routes((PLAIN, done)))
    with pytest.raises(ConfigurationError, match="Health is served by the server itself"):
        Server(Routes((health, done)))  # type: ignore[arg-type]  # refused before its handler matters
