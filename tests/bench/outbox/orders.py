"""The transaction that is measured: an order of one row, and the event that it was placed."""

import json
from collections.abc import Mapping
from typing import Any

from carrick import outbox
from carrick.event import partition_of
from carrick.outbox import Outbox
from carrick.store import SyncTransaction, Transaction
from shop.orders.v1.orders_carrick import ORDER_PLACED
from shop.orders.v1.orders_pb2 import OrderLine, OrderPlaced
from tests.bench.outbox.rows import EVENT_BYTES, headers_of

__all__ = ["CREATE", "MIGRATIONS", "ORDER", "event_of", "event_row", "order_row", "place", "place_now"]

MIGRATIONS = [outbox.MIGRATIONS]
CREATE = "CREATE TABLE IF NOT EXISTS orders (id TEXT PRIMARY KEY, customer TEXT NOT NULL, total INTEGER NOT NULL)"
ORDER = "INSERT INTO orders (id, customer, total) VALUES (:id, :customer, :total)"

_EVENT = """
INSERT INTO carrick_outbox (id, stream, stream_subjects, subject, partition, key, payload, headers, created_at)
VALUES (:id, 'ORDERS', 'orders.>', :subject, :partition, :key, :payload, :headers, julianday('now'))
"""


def order_row(number: int) -> dict[str, Any]:
    """Return the order's row."""
    return {"id": f"order-{number:08d}", "customer": "c-1", "total": 1200}


def event_of(number: int) -> OrderPlaced:
    """Return its event, of 256 bytes."""
    event = OrderPlaced(order_id=f"order-{number:08d}", customer_id="c-1", lines=[OrderLine()], total=1200)
    event.customer_id += "x" * (EVENT_BYTES - event.ByteSize() - 1)  # its length takes a byte more from 128 on
    return event


def event_row(number: int) -> Mapping[str, Any]:
    """Return it as the outbox's row, put together by hand."""
    event, headers = event_of(number), headers_of(number)
    partition = partition_of(event.order_id)
    return {
        "id": headers["ce-id"],
        "subject": f"orders.placed.v1.p{partition:02d}",
        "partition": partition,
        "key": event.order_id,
        "payload": event.SerializeToString(),
        "headers": json.dumps(headers),
    }


async def place(tx: Transaction, outbox: Outbox | None, number: int) -> str:
    """Write the order, and its event when there is an outbox; return the event's id."""
    await tx.execute(ORDER, order_row(number))
    return "" if outbox is None else await outbox.write(tx, ORDER_PLACED, event_of(number))


def place_now(tx: SyncTransaction, number: int) -> str:
    """Do the same in a plain function, with the row put together by hand; return the event's id."""
    tx.execute(ORDER, order_row(number))
    row = event_row(number)
    tx.execute(_EVENT, row)
    return str(row["id"])
