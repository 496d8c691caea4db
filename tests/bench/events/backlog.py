"""What is consumed: events of 256 bytes of 10,000 keys, in an outbox or in a stream already."""

import json
from collections.abc import Iterator
from typing import Any

from carrick.event import partition_of
from carrick.messaging.contract import MAX_BATCH, Message
from carrick.messaging.nats import NatsBroker
from carrick.store.dialect import Sql
from carrick.store.transaction import Database
from tests.bench.outbox.orders import event_of
from tests.bench.outbox.rows import headers_of

__all__ = ["fill_outbox", "fill_stream"]

_CHUNK = 10_000
_INSERT = Sql.template(
    """
    INSERT INTO carrick_outbox
        (id, stream, stream_subjects, subject, partition, key, payload, headers, created_at)
    VALUES (:id, 'ORDERS', 'orders.>', :subject, :partition, :key, :payload, :headers, {now})
    """
)


async def fill_outbox(database: Database, count: int) -> None:
    """Write so many events into a table."""
    for start in range(0, count, _CHUNK):
        rows = [_row(number) for number in range(start, min(start + _CHUNK, count))]
        async with database.transaction() as tx:
            await tx.execute(_INSERT.of(tx.dialect), [{**row, "headers": json.dumps(row["headers"])} for row in rows])


async def fill_stream(broker: NatsBroker, count: int) -> None:
    """Put so many events into a stream."""
    await broker.ensure_stream("ORDERS", ["orders.>"])
    last: dict[str, int] = {}
    for messages in _batches(count):
        expected = {each.subject: last.get(each.subject, 0) for each in messages}
        last.update(await broker.append(messages, expected))


def _batches(count: int) -> Iterator[list[Message]]:
    for start in range(0, count, MAX_BATCH):
        yield [
            Message(
                stream="ORDERS",
                subject=row["subject"],
                id=row["id"],
                data=row["payload"],
                headers=row["headers"],
            )
            for row in map(_row, range(start, min(start + MAX_BATCH, count)))
        ]


def _row(number: int) -> dict[str, Any]:
    headers = headers_of(number)
    key = headers["ce-partitionkey"]
    return {
        "id": headers["ce-id"],
        "subject": f"orders.placed.v1.p{partition_of(key):02d}",
        "partition": partition_of(key),
        "key": key,
        "payload": event_of(number).SerializeToString(),
        "headers": headers,
    }
