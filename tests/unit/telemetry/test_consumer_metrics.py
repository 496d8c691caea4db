"""What OpenTelemetry is told of consumers."""

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import HistogramDataPoint, InMemoryMetricReader

from carrick.context import Context
from carrick.event import PARTITIONS
from carrick.messaging import Message, Subscriber, SubscriberOptions
from carrick.messaging.cloudevents import Envelope, headers_for
from carrick.observe import ignore
from carrick.options import HandlingOptions
from carrick.route import EventRoute
from carrick.store import Inbox, Transaction
from carrick.store.sqlite import SqliteDatabase
from carrick.telemetry.consumer_metrics import ConsumerMetrics
from carrick.telemetry.metrics import Metrics
from carrick.testing import FakeClock, MemoryBroker, settle
from shop.orders.v1.orders_carrick import ORDER_PLACED, apply_order_placed, on_order_placed
from shop.orders.v1.orders_pb2 import OrderPlaced
from tests.unit.testing.programs import until

OPTIONS = SubscriberOptions(fetch_wait=0.05, lease=1.0, poll=0.2)
HANDLING = HandlingOptions(max_attempts=2, initial_backoff=60.0, max_backoff=60.0)
STOCK = {"messaging.system": "nats", "messaging.consumer.group.name": "stock"}
PLACED = {**STOCK, "messaging.destination.name": "orders.placed.v1"}


class Site:
    """A provider with a reader, and a broker that takes events."""

    def __init__(self, database: SqliteDatabase) -> None:
        self.reader = InMemoryMetricReader()
        self.provider = MeterProvider([self.reader])
        self.broker = MemoryBroker()
        self.inbox = Inbox(database)

    def subscriber(self, route: EventRoute[Any], name: str = "stock") -> Subscriber:
        """Make a consumer."""
        return Subscriber(name, self.broker, [route], inbox=self.inbox, options=OPTIONS, observe=ignore)

    async def publish(self, *names: str, time: float = 0.0) -> None:
        """Publish events, each of a key of its own."""
        await self.broker.ensure_stream("ORDERS", ["orders.>"])
        for name in names:
            headers = headers_for(ORDER_PLACED, Envelope(id=f"id-{name}", key=name), time=time)
            data = OrderPlaced(order_id=name).SerializeToString()
            message = Message(
                stream="ORDERS", subject=ORDER_PLACED.subject_of(name), id=f"id-{name}", data=data, headers=headers
            )
            await self.broker.publish(message)

    def points(self, name: str) -> list[tuple[Mapping[str, Any], Any]]:
        """Return the attributes of an instrument, and its value or its histogram."""
        data = self.reader.get_metrics_data()
        metrics = data.resource_metrics[0].scope_metrics[0].metrics if data else ()
        return [
            (dict(point.attributes or {}), point if isinstance(point, HistogramDataPoint) else point.value)
            for metric in metrics
            if metric.name == name
            for point in metric.data.data_points
            if isinstance(point, HistogramDataPoint) or hasattr(point, "value")
        ]

    def value(self, name: str) -> int:
        """Return the one value of an instrument of Carrick's own."""
        ((attributes, value),) = self.points(f"carrick.consumer.{name}")
        assert attributes == STOCK
        return int(value)


@pytest.fixture
def site(database: SqliteDatabase) -> Iterator[Site]:
    """Metrics of their own."""
    site = Site(database)
    yield site
    site.provider.shutdown()


async def apply(event: OrderPlaced, tx: Transaction, ctx: Context) -> None:
    """Have no effect."""


async def test_what_comes_and_is_handled_is_counted(site: Site) -> None:
    """By the subject of the contract, without the partition."""
    subscriber = site.subscriber(apply_order_placed(apply))
    Metrics(site.provider).consumer(subscriber)
    await site.publish("a", "b", "c")
    async with subscriber:
        await settle(subscriber)
        assert site.value("partitions") == PARTITIONS
    ((attributes, count),) = site.points("messaging.client.consumed.messages")
    assert attributes == {**PLACED, "messaging.operation.name": "receive"}
    assert count == 3
    assert site.value("handled") == 3
    assert site.value("in_flight") == site.value("redelivered") == site.value("dead_letters") == 0
    ((attributes, durations),) = site.points("messaging.process.duration")
    assert attributes == {**PLACED, "messaging.operation.name": "process"}
    assert durations.count == 3


async def test_failures_have_their_kind_and_park_their_keys(site: Site) -> None:
    """How long a handler took that raised is told with what it raised."""

    async def fail(event: OrderPlaced, ctx: Context) -> None:
        raise ValueError(event.order_id)

    subscriber = site.subscriber(on_order_placed(fail, handling=HANDLING))
    Metrics(site.provider).consumer(subscriber)
    await site.publish("a", "b")
    async with subscriber:
        await until(lambda: subscriber.parked == (2, 2))
        assert site.value("parked.events") == site.value("parked.keys") == site.value("failures") == 2
    ((attributes, durations),) = site.points("messaging.process.duration")
    assert attributes == {**PLACED, "messaging.operation.name": "process", "error.type": "ValueError"}
    assert durations.count == 2


async def test_the_lag_is_from_the_writing_to_the_effect(site: Site) -> None:
    """By the time in the event, in seconds, in buckets that are fixed."""
    subscriber = site.subscriber(apply_order_placed(apply))
    ConsumerMetrics(site.provider, clock=FakeClock(epoch=1000.0)).add(subscriber)
    await site.publish("a", time=998.0)
    await site.publish("b", time=1001.0)  # by a clock that is fast
    async with subscriber:
        await settle(subscriber)
    ((_, lags),) = site.points("carrick.consumer.lag")
    assert (lags.count, lags.max, lags.min) == (2, 2.0, 0.0)
    assert lags.explicit_bounds[:3] == (0.005, 0.01, 0.025)


async def test_two_consumers_of_a_process_are_told_apart(site: Site) -> None:
    """One set of instruments tells of both."""
    metrics = Metrics(site.provider)
    one, other = (site.subscriber(apply_order_placed(apply), name) for name in ("one", "other"))
    metrics.consumer(one)
    metrics.consumer(other)
    await site.publish("a")
    async with one, other:
        await settle(one)
        await settle(other)
    handled = site.points("carrick.consumer.handled")
    assert {attributes["messaging.consumer.group.name"]: count for attributes, count in handled} == {
        "one": 1,
        "other": 1,
    }
