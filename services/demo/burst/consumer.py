"""A process that handles so many events a second and no more: ``python -m services.demo.burst.consumer NATS DATABASE``.

Each event takes ``SERVICE_TIME``, and ``CONCURRENCY`` are handled at once, so that the capacity is known. It says
``ready`` when it reads everything, and stops when its input ends.
"""

import asyncio
import sys

from carrick import Context, store
from carrick.event import PARTITIONS
from carrick.messaging import Subscriber, SubscriberOptions
from carrick.messaging.nats import NatsBroker
from carrick.store import Inbox
from carrick.store.sqlite import SqliteDatabase
from shop.orders.v1.orders_carrick import on_order_placed
from shop.orders.v1.orders_pb2 import OrderPlaced

__all__ = ["CAPACITY", "CONCURRENCY", "SERVICE_TIME"]

CONCURRENCY = 6
SERVICE_TIME = 0.1
CAPACITY = CONCURRENCY / SERVICE_TIME


async def _main(nats_url: str, path: str) -> None:
    async with (
        SqliteDatabase(path, migrations=[store.MIGRATIONS]) as database,
        NatsBroker(nats_url, name="warehouse") as broker,
    ):
        async with database.transaction() as tx:
            await tx.execute("CREATE TABLE IF NOT EXISTS shipped (order_id TEXT)")

        async def ship(event: OrderPlaced, ctx: Context) -> None:
            over = asyncio.get_running_loop().time() + SERVICE_TIME
            async with database.transaction() as tx:
                await tx.execute("INSERT INTO shipped VALUES (:id)", {"id": event.order_id})
                await tx.handled()
            await asyncio.sleep(over - asyncio.get_running_loop().time())

        options = SubscriberOptions(concurrency=CONCURRENCY)
        async with Subscriber(
            "warehouse", broker, [on_order_placed(ship)], inbox=Inbox(database), options=options
        ) as subscriber:
            while len(subscriber.partitions) < PARTITIONS:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            print("ready", flush=True)
            await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(_main(*sys.argv[1:3]))
