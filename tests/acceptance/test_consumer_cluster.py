"""Consumers of streams with three replicas."""

import asyncio
import os
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from carrick import store
from carrick.context import Context
from carrick.errors import MessagingError
from carrick.messaging import Message, Subscriber, SubscriberOptions
from carrick.messaging.cloudevents import Envelope, headers_for
from carrick.messaging.nats import NatsBroker
from carrick.store import Inbox, Transaction
from carrick.store.sqlite import SqliteDatabase
from carrick.testing import NatsCluster
from shop.orders.v1.orders_carrick import ORDER_PLACED, apply_order_placed
from shop.orders.v1.orders_pb2 import OrderPlaced
from tests.unit.testing.programs import until

EVENTS, KEYS = 900, 30
OPTIONS = SubscriberOptions(ack_wait=2.0, fetch_wait=1.0, lease=2.0)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[NatsCluster]:
    """Three servers."""
    with NatsCluster(tmp_path / "cluster") as cluster:
        yield cluster


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[SqliteDatabase]:
    """A database with a table of effects."""
    async with SqliteDatabase(tmp_path / "stock.db", migrations=[store.MIGRATIONS]) as database:
        async with database.transaction() as tx:
            await tx.execute("CREATE TABLE effects (key TEXT, number INTEGER)")
        yield database


async def _apply(event: OrderPlaced, tx: Transaction, ctx: Context) -> None:
    await tx.execute("INSERT INTO effects VALUES (:key, :number)", {"key": event.order_id, "number": event.total})


async def _publish(broker: NatsBroker, first: int, last: int) -> None:
    """Publish events, each until it is acknowledged; the stream stores an id once."""
    for number in range(first, last):
        key = f"k{number % KEYS}"
        message = Message(
            stream="ORDERS",
            subject=ORDER_PLACED.subject_of(key),
            id=f"e{number}",
            data=OrderPlaced(order_id=key, total=number).SerializeToString(),
            headers=headers_for(ORDER_PLACED, Envelope(id=f"e{number}", key=key), time=0.0),
        )
        while True:
            try:
                await broker.publish(message)
                break
            except MessagingError:
                await asyncio.sleep(0.1)


async def _handled(database: SqliteDatabase) -> bool:
    return sum(map(len, (await _effects(database)).values())) >= EVENTS


async def _effects(database: SqliteDatabase) -> dict[str, list[int]]:
    found: dict[str, list[int]] = defaultdict(list)
    async with database.read() as tx:
        for row in (await tx.execute("SELECT key, number FROM effects ORDER BY rowid")).all():
            found[row.key].append(row.number)
    return found


@pytest.mark.skipif("CARRICK_CONSUMER_EVENTS" not in os.environ, reason="part of make torture-consumers")
async def test_each_server_dies_once_and_every_effect_happens_once_in_order(
    cluster: NatsCluster, database: SqliteDatabase
) -> None:
    """Whoever leads the stream, or a consumer of it: two subscribers go on where they were."""
    async with (
        NatsBroker(cluster.urls[0], name="sender", publish_timeout=2.0, replicas=3) as sender,
        NatsBroker(cluster.urls[1], name="one", publish_timeout=2.0, replicas=3) as one,
        NatsBroker(cluster.urls[2], name="two", publish_timeout=2.0, replicas=3) as two,
    ):
        await _ensured(sender)
        subscribers = [
            Subscriber("stock", broker, [apply_order_placed(_apply)], inbox=Inbox(database), options=OPTIONS)
            for broker in (one, two)
        ]
        async with subscribers[0], subscribers[1]:
            for number, server in enumerate(cluster.servers):
                publishing = asyncio.create_task(_publish(sender, number * 300, number * 300 + 300))
                await asyncio.sleep(0.5)
                server.kill()
                await asyncio.sleep(2.0)
                server.start()
                await publishing
            await until(lambda: _handled(database), timeout=120)
            await asyncio.sleep(1.0)  # a second effect would come now
    assert await _effects(database) == {f"k{key}": list(range(key, EVENTS, KEYS)) for key in range(KEYS)}


async def _ensured(broker: NatsBroker) -> None:
    """Make the stream; the servers may still be choosing their leaders."""
    async with asyncio.timeout(60):
        while True:
            try:
                return await broker.ensure_stream("ORDERS", ["orders.>"])
            except MessagingError:
                await asyncio.sleep(0.2)
