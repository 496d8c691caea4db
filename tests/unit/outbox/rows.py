"""Rows of an outbox, written and brought into some state."""

from collections.abc import Mapping, Sequence
from typing import Any

from carrick.event import EventSpec
from carrick.outbox import Outbox
from carrick.store.transaction import Database
from shop.orders.v1.orders_carrick import ORDER_PLACED
from shop.orders.v1.orders_pb2 import OrderPlaced

__all__ = ["ANOTHER", "change", "rows", "write"]

ANOTHER = EventSpec(full_name="a.v1.Other", subject="orders.another.v1", key="order_id", message=OrderPlaced)


async def write(database: Database, *keys: str, spec: EventSpec[OrderPlaced] = ORDER_PLACED) -> list[str]:
    """Write an event of each key; return their ids."""
    async with database.transaction() as tx:
        return [await Outbox("orders").write(tx, spec, OrderPlaced(order_id=key)) for key in keys]


async def change(database: Database, assignment: str, ids: Sequence[str], **parameters: Any) -> None:
    """Set columns of some rows."""
    async with database.transaction() as tx:
        for each in ids:
            await tx.execute(f"UPDATE carrick_outbox SET {assignment} WHERE id = :id", {"id": each, **parameters})


async def rows(database: Database) -> Mapping[str, Any]:
    """Return all rows by their ids."""
    async with database.read() as tx:
        return {row.id: row for row in (await tx.execute("SELECT * FROM carrick_outbox ORDER BY seq")).all()}
