"""A server's database and broker, taken away and given back: what callers get, and what health says meanwhile."""

import asyncio
import logging
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from carrick import Code, ConfigurationError, Context, MethodPolicy, MethodRoute, RemoteError, outbox, store
from carrick.messaging import GuardedBroker, Message, Subscriber, SubscriberOptions
from carrick.messaging.nats import NatsBroker
from carrick.outbox import Outbox, Relay, RelayOptions
from carrick.resource import Resource
from carrick.rpc import Channel, Server
from carrick.store import Database, GuardedDatabase
from carrick.store.sqlite import SqliteDatabase
from carrick.testing import NatsServer
from shop.orders.v1.orders_carrick import OrdersEvents, on_order_placed
from shop.orders.v1.orders_pb2 import OrderPlaced, PlaceOrderRequest, PlaceOrderResponse
from tests.unit.calls import PLAIN, REPLY, REQUEST
from tests.unit.testing.programs import until

_SERVING = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
_SERVICE = PLAIN.service
_ONCE = MethodPolicy(timeout=20.0)


class _Tests:
    """A servicer of one method, which writes something."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def routes(self) -> tuple[MethodRoute[PlaceOrderRequest, PlaceOrderResponse], ...]:
        """Return the one route."""
        return (MethodRoute(PLAIN, self.plain),)

    async def plain(self, request: PlaceOrderRequest, ctx: Context) -> PlaceOrderResponse:
        """Write a row."""
        async with self._database.transaction() as tx:
            await tx.execute("CREATE TABLE IF NOT EXISTS seen (id)")
            await tx.execute("INSERT INTO seen VALUES (:id)", {"id": request.customer_id})
        return REPLY


class _Health:
    """Asks a server how it is, over the wire."""

    def __init__(self, bare: grpc.aio.Channel) -> None:
        self._stub: Any = health_pb2_grpc.HealthStub(bare)

    async def of(self, name: str) -> int:
        """Return one name's state."""
        status: int = (await self._stub.Check(health_pb2.HealthCheckRequest(service=name))).status
        return status

    def watch(self, name: str) -> Any:
        """Watch one name."""
        return self._stub.Watch(health_pb2.HealthCheckRequest(service=name))

    async def is_serving(self) -> bool:
        """Say whether the server and its service are SERVING: what a load balancer looks at."""
        return [await self.of(""), await self.of(_SERVICE)] == [_SERVING, _SERVING]


@asynccontextmanager
async def _health(server: Server) -> AsyncIterator[_Health]:
    async with grpc.aio.insecure_channel(server.address) as bare:
        yield _Health(bare)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the write lock of a SQLite file, as another process would."""
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("ROLLBACK")
    finally:
        connection.close()


async def _told(watch: Any) -> int:
    async with asyncio.timeout(10):
        status: int = (await watch.read()).status
    return status


def _lines(caplog: pytest.LogCaptureFixture, *names: str) -> list[str]:
    return [record.getMessage().split(":")[0] for record in caplog.records if record.getMessage().startswith(names)]


async def test_a_locked_database_degrades_a_server_and_does_not_kill_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Callers are refused at once, health says which resource, watchers hear of both turns, each is one line."""
    caplog.set_level(logging.WARNING, "carrick")
    resource = Resource("database")
    files = SqliteDatabase(tmp_path / "orders.db", busy_timeout=0.05)
    server = Server(_Tests(GuardedDatabase(files, resource)), resources=[resource])
    async with files, server, _health(server) as health, Channel(server.address, policy=_ONCE) as channel:
        call = channel.unary(PLAIN)

        async def ask() -> Code:
            try:
                await call(REQUEST)
            except RemoteError as error:
                return error.code if "database is not available" in error.message else Code.UNKNOWN
            return Code.OK

        watch = health.watch("resource/database")
        assert await _told(watch) == _SERVING
        assert await ask() is Code.OK
        assert await health.is_serving()

        with _locked(tmp_path / "orders.db"):
            while not resource.degraded:
                assert await ask() is Code.UNAVAILABLE
            assert await _told(watch) == _NOT_SERVING
            assert await health.of("resource/database") == _NOT_SERVING
            assert await health.is_serving()
            assert await ask() is Code.UNAVAILABLE

        async def answered() -> bool:
            return await ask() is Code.OK

        await until(answered)
        assert await _told(watch) == _SERVING
        assert await health.of("resource/database") == _SERVING
    assert _lines(caplog, "Resource", "Breaker") == ["ResourceDegraded", "ResourceRecovered"]


async def test_a_killed_broker_degrades_a_server_and_loses_no_event(
    tmp_path: Path, nats_server: NatsServer, caplog: pytest.LogCaptureFixture
) -> None:
    """The relay stops asking while the circuit is open, and publishes what is left once the broker is back."""
    caplog.set_level(logging.WARNING, "carrick")
    resource = Resource("broker")
    files = SqliteDatabase(tmp_path / "orders.db", migrations=[store.MIGRATIONS, outbox.MIGRATIONS])
    nats = NatsBroker(nats_server.url, name="t", publish_timeout=0.5)
    relay = Relay(files, GuardedBroker(nats, resource), options=RelayOptions(poll=0.1, backoff=0.05))
    events = OrdersEvents(Outbox("orders", wake=relay.wake))
    server = Server(_Tests(files), resources=[resource])

    async def place(number: int) -> None:
        async with files.transaction() as tx:
            await events.order_placed(tx, OrderPlaced(order_id=str(number)))

    async with files, nats, relay, server, _health(server) as health:
        watch = health.watch("resource/broker")
        assert await _told(watch) == _SERVING
        await place(0)
        await until(lambda: relay.processed == 1)

        nats_server.kill()
        for number in range(1, 20):
            await place(number)
        await until(lambda: resource.degraded)
        assert await _told(watch) == _NOT_SERVING
        assert await health.is_serving()

        nats_server.start()
        assert await _told(watch) == _SERVING
        await until(lambda: relay.processed == 20)
        assert await health.is_serving()
    turns = _lines(caplog, "Resource")
    assert turns[0] == "ResourceDegraded"
    assert turns == ["ResourceDegraded", "ResourceRecovered"] * (len(turns) // 2)


async def test_a_subscriber_alone_notices_that_its_broker_is_away(nats_server: NatsServer) -> None:
    """Nothing is published by it: its resource is degraded, and recovers, by what it asks to consume again."""
    resource = Resource("broker")
    nats = NatsBroker(nats_server.url, name="t", publish_timeout=0.5)
    broker = GuardedBroker(nats, resource)
    handled: list[str] = []

    async def handle(event: OrderPlaced, ctx: Context) -> None:
        handled.append(event.order_id)

    options = SubscriberOptions(fetch_wait=0.2, ack_wait=1.0)
    subscriber = Subscriber("alone", broker, [on_order_placed(handle)], inbox=None, options=options)

    async def publish(number: int) -> None:
        order = OrderPlaced(order_id=str(number))
        await nats.publish(
            Message(stream="ORDERS", subject="orders.placed.v1.p00", id=str(number), data=order.SerializeToString())
        )

    async with nats, subscriber:
        await subscriber.pending()  # the stream is there
        await publish(1)
        await until(lambda: bool(handled))
        nats_server.kill()
        await until(lambda: resource.degraded)
        nats_server.start()
        await until(lambda: not resource.degraded)
        await publish(2)
        await until(lambda: handled[-1] == "2")  # the first may come again: its ack went down with the server


async def test_a_stop_tells_resources_like_services() -> None:
    """A draining server says NOT_SERVING for all it has, and is not talked out of it by a resource that recovers."""
    resource = Resource("cache")
    state = resource.breaker("call")
    assert state is not None
    state.isolate()
    server = Server(_Tests(SqliteDatabase("never-opened.db")), resources=[resource])
    await server.start()
    async with _health(server) as health:
        watch = health.watch("resource/cache")
        assert await _told(watch) == _NOT_SERVING
        state.close()
        assert await _told(watch) == _SERVING
        stopping = asyncio.create_task(server.stop())
        assert await _told(watch) == _NOT_SERVING
        state.isolate()
        state.close()
        with suppress(grpc.aio.AioRpcError):
            assert await watch.read() is grpc.aio.EOF
        await stopping


async def test_several_turns_in_a_row_end_with_the_last() -> None:
    """Watchers may miss what lasted no time, and never end with what is over."""
    resource = Resource("cache")
    state = resource.breaker("call")
    assert state is not None
    server = Server(_Tests(SqliteDatabase("never-opened.db")), resources=[resource])
    async with server, _health(server) as health:
        for _ in range(5):
            state.isolate()
            state.close()
        state.isolate()
        assert await health.of("resource/cache") == _NOT_SERVING


def test_a_server_that_has_stopped_lets_its_resources_go() -> None:
    """They may outlive it, and its event loop."""
    resource = Resource("cache")
    state = resource.breaker("call")
    assert state is not None

    async def serve() -> None:
        async with Server(resources=[resource]):
            pass

    asyncio.run(serve())
    state.isolate()
    assert resource.degraded


def test_resources_have_names_of_their_own() -> None:
    """Two of one name would be one in health."""
    with pytest.raises(ConfigurationError, match="two resources are named a"):
        Server(resources=[Resource("a"), Resource("b"), Resource("a")])
