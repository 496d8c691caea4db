"""What users write must be typed: this file is checked, not run."""

import sqlite3
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any, assert_type

import aiosqlite
import psycopg
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession
from sqlalchemy.orm import Session

from carrick import (
    CarrickError,
    Context,
    EventRoute,
    HandlingOptions,
    MethodKind,
    MethodPolicy,
    MethodRoute,
    MethodSpec,
    RetryOptions,
    Upcaster,
)
from carrick.messaging import GuardedBroker, Subscriber
from carrick.messaging.memory import MemoryBroker
from carrick.messaging.nats import AtMostOnce
from carrick.messaging.nats.responder import Responder
from carrick.outbox import Outbox, OutboxWatch, Relay
from carrick.policy.backlog import shed_on_backlog
from carrick.resource import Resource
from carrick.rpc import BlockingChannel, BlockingResponseStream, Channel, ResponseStream, Server, UnaryCall
from carrick.store import Database, GuardedDatabase, Sql, SyncTransaction, Transaction, database_at
from carrick.store.postgres import PostgresDatabase, PostgresTransaction
from carrick.store.sqlite import SqliteDatabase
from shop.orders.v1.orders_carrick import (
    GET_ORDER,
    ORDER_PLACED,
    OrdersBlockingClient,
    OrdersBlockingEvents,
    OrdersClient,
    OrdersEvents,
    OrdersServicer,
    apply_order_placed,
    on_order_placed,
)
from shop.orders.v1.orders_carrick_fakes import OrdersFake
from shop.orders.v1.orders_pb2 import (
    GetOrderRequest,
    GetOrderResponse,
    OrderPlaced,
    PlaceOrderRequest,
    PlaceOrderResponse,
)


async def client(channel: Channel) -> None:
    """A client's methods know their messages."""
    orders = OrdersClient(channel, policy=MethodPolicy(timeout=1.0, retry=RetryOptions(max_attempts=2)))
    reply = await orders.place_order(PlaceOrderRequest(), timeout=1.0, key="k", metadata=(("a", "b"),))
    assert_type(reply, PlaceOrderResponse)
    await orders.get_order(GetOrderRequest(), key="k")  # type: ignore[call-arg]  # this method has no key
    await orders.get_order(PlaceOrderRequest())  # type: ignore[arg-type]  # another method's request
    OrdersClient(channel, policy={GET_ORDER: MethodPolicy(timeout=1.0)})
    OrdersClient(channel, policy={GET_ORDER: RetryOptions()})  # type: ignore[dict-item]  # a part of a policy
    OrdersClient(channel, policy=RetryOptions())  # type: ignore[arg-type]  # a part of a policy
    channel.unary(GET_ORDER, {GET_ORDER: MethodPolicy(timeout=1.0)})
    bound = channel.unary(GET_ORDER)
    assert_type(bound, UnaryCall[GetOrderRequest, GetOrderResponse])


async def connections(
    events: OrdersEvents,
    blocking: OrdersBlockingEvents,
    asyncpg_connection: Any,
    alchemy: tuple[AsyncConnection, AsyncSession],
    alchemy_sync: tuple[Connection, Session],
    psycopg_connections: tuple[psycopg.AsyncConnection, psycopg.Connection],
    sqlite: tuple[aiosqlite.Connection, sqlite3.Connection],
    tx: Transaction,
    sync_tx: SyncTransaction,
) -> None:
    """Events are written on asynchronous connections with one class, on others with the other."""
    event = OrderPlaced()
    await events.order_placed(tx, event)
    await events.order_placed(asyncpg_connection, event)
    await events.order_placed(alchemy[0], event)
    await events.order_placed(alchemy[1], event)
    await events.order_placed(psycopg_connections[0], event)
    await events.order_placed(sqlite[0], event)
    blocking.order_placed(sync_tx, event)
    blocking.order_placed(alchemy_sync[0], event)
    blocking.order_placed(alchemy_sync[1], event)
    blocking.order_placed(psycopg_connections[1], event)
    blocking.order_placed(sqlite[1], event)
    await events.order_placed(tx, event, delay=1, expires_in=60.0)
    blocking.order_placed(sync_tx, event, at=datetime.now(UTC))
    await events.order_placed(tx, event, at=60)  # type: ignore[arg-type]  # no moment
    blocking.order_placed(sync_tx, event, expires_in="1h")  # type: ignore[arg-type]  # no seconds
    blocking.order_placed(sync_tx, event, 60)  # type: ignore[call-arg]  # of what?
    await events.order_placed(sync_tx, event)  # type: ignore[arg-type]  # not asynchronous
    await events.order_placed(alchemy_sync[0], event)  # type: ignore[arg-type]  # not asynchronous
    await events.order_placed(alchemy_sync[1], event)  # type: ignore[arg-type]  # not asynchronous
    await events.order_placed(psycopg_connections[1], event)  # type: ignore[arg-type]  # not asynchronous
    await events.order_placed(sqlite[1], event)  # type: ignore[arg-type]  # not asynchronous
    await events.order_placed("tx", event)  # type: ignore[arg-type]  # no transaction
    blocking.order_placed(tx, event)  # type: ignore[arg-type]  # asynchronous
    blocking.order_placed(alchemy[0], event)  # type: ignore[arg-type]  # asynchronous
    blocking.order_placed(alchemy[1], event)  # type: ignore[arg-type]  # asynchronous
    blocking.order_placed(psycopg_connections[0], event)  # type: ignore[arg-type]  # asynchronous
    blocking.order_placed(sqlite[0], event)  # type: ignore[arg-type]  # asynchronous
    blocking.order_placed("tx", event)  # type: ignore[arg-type]  # no transaction
    outbox = Outbox("orders")
    assert_type(await outbox.write(tx, ORDER_PLACED, event, delay=1.0, expires_in=2.0), str)
    assert_type(await outbox.write_all(tx, [(ORDER_PLACED, event)], at=datetime.now(UTC)), list[str])
    assert_type(outbox.write_sync(sync_tx, ORDER_PLACED, event), str)


def count(tx: SyncTransaction) -> int:
    """Return what ``run`` returns."""
    return tx.execute("SELECT 1").rowcount


async def resources(database: SqliteDatabase, broker: MemoryBroker) -> None:
    """A guard keeps the types of what it guards."""

    async def ask(account: str, amount: int) -> bool:
        return amount > len(account)

    bank = Resource("bank")
    assert_type(await bank.call(ask, "a", 1, operation="ask"), bool)
    await bank.call(ask, 1, "a")  # type: ignore[arg-type]  # the other way round
    async with GuardedDatabase(database, bank).transaction() as tx:
        assert_type(tx, Transaction)
    assert_type(await database.run(count), int)
    assert_type(await GuardedDatabase(database, bank).run(count), int)
    await database.run("SELECT 1")  # type: ignore[arg-type]  # no function
    Relay(GuardedDatabase(database, bank), GuardedBroker(broker, bank))
    Server(resources=[bank])


async def databases(sqlite: SqliteDatabase, postgres: PostgresDatabase) -> list[Database]:
    """Where the framework asks for a database, each of them will do."""
    async with postgres.transaction() as tx:
        assert_type(tx, PostgresTransaction)
        await tx.execute(Sql.template("SELECT {now}").of(tx.dialect))
        await tx.execute(b"SELECT 1")  # type: ignore[arg-type]  # text is wanted
    watch = OutboxWatch(postgres)
    shed_on_backlog(watch, max_age=60.0)
    shed_on_backlog(postgres, max_age=60.0)  # type: ignore[arg-type]  # nothing looks into it
    return [sqlite, postgres, database_at("orders.db", isolation="serializable")]


class Handlers(OrdersServicer):
    """A servicer's methods know theirs."""

    def __init__(self, database: SqliteDatabase, events: OrdersEvents) -> None:
        self.database = database
        self.events = events

    async def place_order(self, request: PlaceOrderRequest, ctx: Context) -> PlaceOrderResponse:
        """The reply keeps its type through the transaction."""
        async with self.database.transaction() as tx:
            await self.events.order_placed(tx, OrderPlaced())
            await self.events.order_placed(tx, PlaceOrderRequest())  # type: ignore[arg-type]  # no event
            reply = await tx.reply(PlaceOrderResponse())
            assert_type(reply, PlaceOrderResponse)
            return reply

    async def get_order(self, request: GetOrderRequest, ctx: Context) -> GetOrderResponse:
        """Errors are classes with codes."""
        raise CarrickError(0, "no code")  # type: ignore[arg-type]  # a Code is wanted


def subscriber(broker: MemoryBroker) -> Subscriber:
    """A subscription knows its event."""

    async def handle(event: OrderPlaced, ctx: Context) -> None:
        """Take the event."""

    async def apply(event: OrderPlaced, tx: Transaction, ctx: Context) -> None:
        """Take it in a transaction."""

    async def mistaken(event: GetOrderRequest, ctx: Context) -> None:
        """Take something else."""

    on_order_placed(mistaken)  # type: ignore[arg-type]  # a handler of something else
    on_order_placed(apply)  # type: ignore[arg-type]  # no transaction is given to it
    apply_order_placed(handle)  # type: ignore[arg-type]  # the transaction is missing
    route = on_order_placed(handle)
    assert_type(route, EventRoute[OrderPlaced])
    assert_type(apply_order_placed(apply), EventRoute[OrderPlaced])
    on_order_placed(handle, handling=RetryOptions())  # type: ignore[arg-type]  # of calls
    on_order_placed(handle, handling=HandlingOptions(max_attempts=3), upcasters=[Upcaster(ORDER_PLACED, newer)])
    apply_order_placed(apply, upcasters=[Upcaster(ORDER_PLACED, older)])  # type: ignore[arg-type]  # another event
    return Subscriber("name", broker, [route], inbox=None)


def newer(event: GetOrderRequest) -> OrderPlaced:
    """Make an event of what it was before."""
    return OrderPlaced(order_id=event.order_id)


def older(event: OrderPlaced) -> GetOrderRequest:
    """Make something else of it."""
    return GetOrderRequest(order_id=event.order_id)


async def at_most_once(live: AtMostOnce) -> None:
    """Events and answers have the types of what was asked for."""

    async def get(request: GetOrderRequest, ctx: Context) -> GetOrderResponse:
        """Answer."""
        return GetOrderResponse(order_id=request.order_id)

    answer = await live.request("orders.get", GetOrderRequest(), GetOrderResponse, timeout=1.0)
    assert_type(answer, GetOrderResponse)
    await live.publish(ORDER_PLACED, OrderPlaced())
    await live.publish(ORDER_PLACED, GetOrderRequest())  # type: ignore[misc]  # another event
    async with live.respond("orders.get", GetOrderRequest, get) as responder:
        assert_type(responder, Responder[GetOrderRequest])
    live.respond("orders.get", OrderPlaced, get)  # type: ignore[arg-type]  # it handles something else


def outbox(events: Outbox) -> OrdersEvents:
    """A publisher needs an outbox."""
    OrdersEvents("outbox")  # type: ignore[arg-type]  # no outbox
    return OrdersEvents(events)


WATCH = MethodSpec(
    service="test.v1.Watches",
    name="Watch",
    request=GetOrderRequest,
    response=GetOrderResponse,
    kind=MethodKind.SERVER_STREAM,
)


async def streams(channel: Channel) -> None:
    """Streams know their messages."""
    stream = channel.server_stream(WATCH)(GetOrderRequest())
    assert_type(stream, ResponseStream[GetOrderResponse])
    async for reply in stream:
        assert_type(reply, GetOrderResponse)
    channel.server_stream(WATCH)(PlaceOrderRequest())  # type: ignore[arg-type]  # another method's request
    await channel.client_stream(WATCH)([GetOrderRequest()])  # type: ignore[arg-type]  # no asynchronous iterator


def routes(handler: OrdersServicer) -> list[MethodRoute[GetOrderRequest, GetOrderResponse]]:
    """A handler has one of the shapes of a call."""

    async def watch(request: GetOrderRequest, ctx: Context) -> AsyncIterator[GetOrderResponse]:
        yield GetOrderResponse()

    async def mistaken(request: PlaceOrderRequest, ctx: Context) -> AsyncIterator[GetOrderResponse]:
        yield GetOrderResponse()

    MethodRoute(WATCH, mistaken)  # type: ignore[arg-type]  # takes another request
    return [MethodRoute(WATCH, watch), MethodRoute(GET_ORDER, handler.get_order)]


def blocking(channel: BlockingChannel) -> None:
    """A blocking client returns what an asynchronous one does."""
    orders = OrdersBlockingClient(channel, policy={GET_ORDER: MethodPolicy(timeout=1.0)})
    assert_type(orders.place_order(PlaceOrderRequest(), key="k"), PlaceOrderResponse)
    assert_type(channel.server_stream(WATCH)(GetOrderRequest()), BlockingResponseStream[GetOrderResponse])
    OrdersBlockingClient(Channel("127.0.0.1:1"))  # type: ignore[arg-type]  # an asynchronous channel


def fakes() -> OrdersClient:
    """A fake's methods know what they may answer, and its client is one of the service's."""
    orders = OrdersFake(policy={GET_ORDER: MethodPolicy(timeout=1.0)})
    orders.get_order.returns(GetOrderResponse())
    orders.get_order.returns(PlaceOrderResponse())  # type: ignore[arg-type]  # another method's reply
    assert_type(orders.get_order.requests, list[GetOrderRequest])
    return orders.client
