"""Writing events: a row in the transaction that has the cause, and everything that will travel with it."""

# ruff: noqa: PT012  # what raises is the end of a block, not one statement

import json
from typing import Any, cast

import pytest

from carrick.context import Call, Context, enter
from carrick.errors import Code, ConfigurationError, OutboxError
from carrick.event import partition_of
from carrick.messaging.cloudevents import read
from carrick.outbox import Outbox
from carrick.store.sqlite import SqliteDatabase
from carrick.testing import FakeClock
from carrick.trace import Trace
from shop.orders.v1.orders_carrick import ORDER_PLACED, OrdersEvents
from shop.orders.v1.orders_pb2 import OrderPlaced


async def _rows(database: SqliteDatabase) -> list[Any]:
    async with database.read() as tx:
        return list((await tx.execute("SELECT * FROM carrick_outbox ORDER BY seq")).all())


async def test_an_event_is_a_row_once_its_transaction_commits(database: SqliteDatabase) -> None:
    """The row has all that the relay needs, and is not published yet."""
    event = OrderPlaced(order_id="o-1", total=500)
    async with database.transaction() as tx:
        await OrdersEvents(Outbox("orders")).order_placed(tx, event)
        assert await _rows(database) == []
    (row,) = await _rows(database)
    assert (row.stream, row.stream_subjects) == ("ORDERS", "orders.>")
    assert row.subject == f"orders.placed.v1.p{partition_of('o-1'):02d}"
    assert (row.partition, row.key) == (partition_of("o-1"), "o-1")
    assert OrderPlaced.FromString(row.payload) == event
    assert row.published_at is None


async def test_an_event_of_a_rolled_back_transaction_is_not_there(database: SqliteDatabase) -> None:
    """An exception takes the event with the rest."""
    with pytest.raises(KeyError):
        async with database.transaction() as tx:
            await Outbox("orders").write(tx, ORDER_PLACED, OrderPlaced(order_id="o-1"))
            raise KeyError
    assert await _rows(database) == []


async def test_the_relay_is_woken_after_the_commit_only(database: SqliteDatabase) -> None:
    """Nobody is woken for a row that is not there, or never will be."""
    woken: list[str] = []
    outbox = Outbox("orders", wake=lambda: woken.append("woken"))
    async with database.transaction() as tx:
        await outbox.write(tx, ORDER_PLACED, OrderPlaced(order_id="o-1"))
        assert woken == []
    assert woken == ["woken"]
    with pytest.raises(KeyError):
        async with database.transaction() as tx:
            await outbox.write(tx, ORDER_PLACED, OrderPlaced(order_id="o-1"))
            raise KeyError
    assert woken == ["woken"]


@pytest.mark.parametrize("no_transaction", [None, object(), "tx"])
async def test_without_a_transaction_nothing_is_written(no_transaction: object) -> None:
    """What is no transaction is refused with the way to get one."""
    with pytest.raises(OutboxError, match=r"OrderPlaced must be written in a transaction, not in a .*: async with"):
        await Outbox("orders").write(cast("Any", no_transaction), ORDER_PLACED, OrderPlaced(order_id="o-1"))


async def test_the_database_is_no_transaction(database: SqliteDatabase) -> None:
    """Handing over the database itself is the likeliest mistake."""
    with pytest.raises(OutboxError, match="not in a SqliteDatabase"):
        await Outbox("orders").write(cast("Any", database), ORDER_PLACED, OrderPlaced(order_id="o-1"))


async def test_an_event_needs_its_key(database: SqliteDatabase) -> None:
    """Without the field that keeps events in order there is no order to keep."""
    async with database.transaction() as tx:
        with pytest.raises(OutboxError, match="OrderPlaced has an empty order_id") as caught:
            await Outbox("orders").write(tx, ORDER_PLACED, OrderPlaced(total=5))
    assert caught.value.code is Code.INVALID_ARGUMENT
    assert await _rows(database) == []


def test_an_outbox_needs_its_source() -> None:
    """CloudEvents require a source."""
    with pytest.raises(ConfigurationError, match="name of its service as source"):
        Outbox("")


async def test_events_carry_cloudevents_headers(database: SqliteDatabase) -> None:
    """CloudEvents 1.0, binary mode, with the moment of the writing."""
    outbox = Outbox("orders of Zürich", clock=FakeClock(epoch=1_700_000_000.25))
    async with database.transaction() as tx:
        event_id = await outbox.write(tx, ORDER_PLACED, OrderPlaced(order_id="o 1"))
    (row,) = await _rows(database)
    headers = json.loads(row.headers)
    assert row.id == event_id
    assert {name: headers[name] for name in headers if name != "ce-correlationid"} == {
        "ce-specversion": "1.0",
        "ce-id": event_id,
        "ce-source": "orders%2520of%2520Z%25C3%25BCrich",
        "ce-type": "shop.orders.v1.OrderPlaced",
        "ce-time": "2023-11-14T22:13:20.250Z",
        "ce-datacontenttype": "application/protobuf",
        "ce-partitionkey": "o%201",
    }


async def test_events_carry_on_what_is_being_handled(database: SqliteDatabase) -> None:
    """Correlation id and trace are those of the current context; its key is the cause."""
    trace = Trace.parse("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "vendor=x")
    ctx = Context(None, correlation_id="corr", causation_id="older", key="the-key", trace=trace, call=Call())
    with enter(ctx):
        async with database.transaction() as tx:
            await Outbox("orders").write(tx, ORDER_PLACED, OrderPlaced(order_id="o-1"))
    envelope = read(json.loads((await _rows(database))[0].headers), fallback_id="none")
    assert envelope.correlation_id == "corr"
    assert envelope.causation_id == "the-key"
    assert envelope.trace == trace
    assert envelope.source == "orders"
    assert envelope.key == "o-1"


async def test_without_a_key_the_older_cause_stays(database: SqliteDatabase) -> None:
    """A call without key hands on what set it off."""
    with enter(Context(None, correlation_id="corr", causation_id="older")):
        async with database.transaction() as tx:
            await Outbox("orders").write(tx, ORDER_PLACED, OrderPlaced(order_id="o-1"))
    envelope = read(json.loads((await _rows(database))[0].headers), fallback_id="none")
    assert (envelope.correlation_id, envelope.causation_id) == ("corr", "older")


async def test_outside_of_a_context_a_correlation_begins(database: SqliteDatabase) -> None:
    """Each such event starts a correlation of its own, without cause."""
    async with database.transaction() as tx:
        for _ in range(2):
            await Outbox("orders").write(tx, ORDER_PLACED, OrderPlaced(order_id="o-1"))
    first, second = (read(json.loads(row.headers), fallback_id="none") for row in await _rows(database))
    assert first.correlation_id
    assert second.correlation_id
    assert first.correlation_id != second.correlation_id
    assert first.causation_id is None
    assert first.id != second.id
