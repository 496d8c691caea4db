"""A consumer killed with SIGKILL in the middle of an event: the event has its effect once, in its place.

The consumer is a process: this file, run as a program.
"""

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from carrick import store
from carrick.context import Context
from carrick.messaging import Message, Subscriber, SubscriberOptions
from carrick.messaging.cloudevents import Envelope, headers_for
from carrick.messaging.nats import NatsBroker
from carrick.store import Inbox
from carrick.store.sqlite import SqliteDatabase
from carrick.testing import NatsServer, settle
from shop.orders.v1.orders_carrick import ORDER_PLACED, on_order_placed
from shop.orders.v1.orders_pb2 import OrderPlaced
from tests.unit.testing.programs import program

EVENTS = 30
OPTIONS = SubscriberOptions(ack_wait=0.5, fetch_wait=0.2, lease=1.0)
ME = "tests.acceptance.test_consumer_crash"


class Handler:
    """Has an effect, and stops for ever ``where`` it is told: inside the transaction, or after its commit."""

    def __init__(self, database: SqliteDatabase, where: str = "") -> None:
        self._database = database
        self._where = where

    async def __call__(self, event: OrderPlaced, ctx: Context) -> None:
        """Handle an event."""
        async with self._database.transaction() as tx:
            await tx.execute("INSERT INTO effects VALUES (:number)", {"number": event.total})
            await tx.handled()
            if event.total % 7 == 3:
                await self._stop("inside")
        if event.total % 7 == 3:
            await self._stop("committed")

    async def _stop(self, where: str) -> None:
        if self._where == where:
            print(f"stopped {where}", flush=True)
            await asyncio.Event().wait()


def _subscriber(database: SqliteDatabase, broker: NatsBroker, where: str = "") -> Subscriber:
    routes = [on_order_placed(Handler(database, where))]
    return Subscriber("stock", broker, routes, inbox=Inbox(database), options=OPTIONS)


async def _consume(path: Path, url: str, where: str) -> None:
    """Consume until killed."""
    database = SqliteDatabase(path, migrations=[store.MIGRATIONS])
    await database.open()
    async with NatsBroker(url, name="consumer") as broker, _subscriber(database, broker, where):
        print("ready", flush=True)
        await asyncio.Event().wait()


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[SqliteDatabase]:
    """The consumers' database, which each of their processes opens."""
    async with SqliteDatabase(tmp_path / "shop.db", migrations=[store.MIGRATIONS]) as db:
        async with db.transaction() as tx:
            await tx.execute("CREATE TABLE effects (number INTEGER)")
        yield db


async def _publish(broker: NatsBroker) -> None:
    await broker.ensure_stream("ORDERS", ["orders.>"])
    for number in range(EVENTS):
        event = OrderPlaced(order_id="k", total=number)
        await broker.publish(
            Message(
                stream="ORDERS",
                subject=ORDER_PLACED.subject_of("k"),
                id=f"event-{number}",
                data=event.SerializeToString(),
                headers=headers_for(ORDER_PLACED, Envelope(id=f"event-{number}", key="k"), time=0.0),
            )
        )


async def test_a_killed_consumer_has_each_effect_once(database: SqliteDatabase, nats_server: NatsServer) -> None:
    """Killed before the commit the event comes again; killed between commit and ack its second effect is undone."""
    async with NatsBroker(nats_server.url, name="test") as broker:
        await _publish(broker)
        for where in ("inside", "committed", "inside", "committed"):
            with program("-m", ME, str(database.path), nats_server.url, where) as consumer:
                assert consumer.stdout is not None
                async with asyncio.timeout(20):
                    assert await asyncio.to_thread(consumer.stdout.readline) == "ready\n"
                    assert await asyncio.to_thread(consumer.stdout.readline) == f"stopped {where}\n"
                consumer.kill()
                consumer.wait()
        subscriber = _subscriber(database, broker)
        async with subscriber:
            await settle(subscriber, timeout=20)
    async with database.read() as tx:
        effects = [row.number for row in (await tx.execute("SELECT number FROM effects ORDER BY rowid")).all()]
    assert effects == list(range(EVENTS))


if __name__ == "__main__":
    asyncio.run(_consume(Path(sys.argv[1]), sys.argv[2], sys.argv[3]))
