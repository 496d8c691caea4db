"""What waits in an outbox, as a service sees it."""

import pytest

from carrick.outbox import Backlog, Outbox
from carrick.store.sqlite import SqliteDatabase
from shop.orders.v1.orders_carrick import ORDER_PLACED
from shop.orders.v1.orders_pb2 import OrderPlaced
from tests.unit.testing.programs import until


async def test_it_follows_what_is_written_and_published(database: SqliteDatabase) -> None:
    """How many wait, and for how long the oldest has."""
    async with Backlog(database, interval=0.01) as backlog:
        assert (backlog.depth, backlog.oldest) == (0, 0.0)
        async with database.transaction() as tx:
            for number in range(3):
                await Outbox("orders").write(tx, ORDER_PLACED, OrderPlaced(order_id=f"k{number}"))
            await tx.execute("UPDATE carrick_outbox SET created_at = created_at - 100 WHERE seq = 1")
        await until(lambda: backlog.depth == 3)
        assert backlog.oldest == pytest.approx(100, abs=20)
        async with database.transaction() as tx:
            await tx.execute("UPDATE carrick_outbox SET published_at = 1 WHERE seq = 1")
            await tx.execute("UPDATE carrick_outbox SET refused_at = 1 WHERE seq = 2")
        await until(lambda: backlog.depth == 1)
        assert backlog.oldest < 20
