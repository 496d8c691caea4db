"""One event from its writing to its effect, in spans: each of its own trace, linked to where it was written."""

from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from carrick import outbox, store
from carrick.context import Context
from carrick.messaging import Subscriber, SubscriberOptions
from carrick.outbox import Outbox, Relay
from carrick.route import EventRoute
from carrick.store import Inbox, Transaction
from carrick.store.sqlite import SqliteDatabase
from carrick.telemetry.tracing import OpenTelemetry
from carrick.testing import MemoryBroker, settle
from shop.orders.v1.orders_carrick import ORDER_PLACED, apply_order_placed, on_order_placed
from shop.orders.v1.orders_pb2 import OrderPlaced

OPTIONS = SubscriberOptions(fetch_wait=0.05, lease=1.0, poll=0.2)


@pytest.fixture
def exporter() -> Iterator[InMemorySpanExporter]:
    """Where spans are kept."""
    exporter = InMemorySpanExporter()
    yield exporter
    exporter.clear()


async def run(exporter: InMemorySpanExporter, path: Any, handler: str, names: list[str]) -> list[ReadableSpan]:
    """Write events, publish them and handle them, by a handler of that kind; return the spans."""
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracing, broker = OpenTelemetry(provider), MemoryBroker()
    async with SqliteDatabase(path, migrations=[store.MIGRATIONS, outbox.MIGRATIONS]) as database:

        async def on(event: OrderPlaced, ctx: Context) -> None:
            async with database.transaction() as tx:
                await tx.handled()

        async def apply(event: OrderPlaced, tx: Transaction, ctx: Context) -> None:
            assert ctx.trace is not None

        routes: dict[str, EventRoute[Any]] = {"on": on_order_placed(on), "apply": apply_order_placed(apply)}
        events = Outbox("orders", instruments=tracing)
        async with database.transaction() as tx:
            for name in names:
                await events.write(tx, ORDER_PLACED, OrderPlaced(order_id=name))
        await Relay(database, broker, instruments=tracing).stop()  # publishes what there is
        subscriber = Subscriber(
            "stock", broker, [routes[handler]], inbox=Inbox(database), options=OPTIONS, instruments=tracing
        )
        async with subscriber:
            await settle(subscriber)
    provider.shutdown()
    return list(exporter.get_finished_spans())


@pytest.mark.parametrize("handler", ["on", "apply"])
async def test_sending_and_handling_link_to_the_writing(
    exporter: InMemorySpanExporter, tmp_path: Any, handler: str
) -> None:
    """Whichever way an event is handled, and however many are applied together."""
    spans = await run(exporter, tmp_path / "orders.db", handler, ["a", "b", "c"])
    by_event: dict[Any, dict[Any, ReadableSpan]] = {}
    for span in spans:
        assert span.attributes is not None
        event = by_event.setdefault(span.attributes["messaging.message.id"], {})
        event[span.attributes["messaging.operation.type"]] = span
    assert len(by_event) == 3
    for event in by_event.values():
        assert set(event) == {"create", "send", "process"}
        created = event["create"].context
        for operation in ("send", "process"):
            (link,) = event[operation].links
            assert link.context.span_id == created.span_id
            assert link.context.trace_id == created.trace_id
            assert event[operation].context.trace_id != created.trace_id
            assert event[operation].parent is None
