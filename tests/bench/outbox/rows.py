"""The events that are drained: 256 bytes each, of 10,000 keys, written in bulk."""

import json
from collections.abc import Iterator
from typing import Any

from carrick.event import partition_of
from carrick.ids import time_ordered_id
from carrick.store.dialect import Sql
from carrick.store.transaction import Database

__all__ = ["EVENT_BYTES", "fill", "headers_of"]

EVENT_BYTES = 256
_KEYS = 10_000
_CHUNK = 10_000
_INSERT = Sql.template(
    """
    INSERT INTO carrick_outbox
        (id, stream, stream_subjects, subject, partition, key, payload, headers, created_at)
    VALUES (:id, 'ORDERS', 'orders.>', :subject, :partition, :key, :payload, :headers, {now})
    """
)


async def fill(database: Database, count: int) -> None:
    """Write so many events."""
    for start in range(0, count, _CHUNK):
        async with database.transaction() as tx:
            await tx.execute(_INSERT.of(tx.dialect), list(_rows(start, min(start + _CHUNK, count))))


def headers_of(number: int) -> dict[str, str]:
    """Return the headers of an event."""
    event_id = time_ordered_id()
    return {
        "ce-specversion": "1.0",
        "ce-id": event_id,
        "ce-source": "orders",
        "ce-type": "shop.orders.v1.OrderPlaced",
        "ce-time": "2026-11-24T12:00:00Z",
        "ce-datacontenttype": "application/protobuf",
        "ce-partitionkey": f"order-{number % _KEYS}",
        "ce-correlationid": event_id,
    }


def _rows(start: int, end: int) -> Iterator[dict[str, Any]]:
    for headers in map(headers_of, range(start, end)):
        key = headers["ce-partitionkey"]
        yield {
            "id": headers["ce-id"],
            "subject": f"orders.placed.v1.p{partition_of(key):02d}",
            "partition": partition_of(key),
            "key": key,
            "payload": b"x" * EVENT_BYTES,
            "headers": json.dumps(headers),
        }
