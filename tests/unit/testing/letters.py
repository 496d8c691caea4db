"""Dead letters for tests."""

from typing import Any

from carrick.messaging import Broker, DeadLetters, Message
from carrick.messaging.cloudevents import Envelope, headers_for
from carrick.messaging.inbound import ParkedDelivery
from carrick.store.parking import Parked
from shop.orders.v1.orders_carrick import ORDER_PLACED
from shop.orders.v1.orders_pb2 import OrderPlaced

__all__ = ["publish_orders", "put_letters"]


async def publish_orders(broker: Broker, *keys: str) -> None:
    """Publish an event a key to the stream ``ORDERS``."""
    await broker.ensure_stream("ORDERS", ["orders.>"])
    for number, key in enumerate(keys):
        envelope = Envelope(id=f"{key}-{number}", source="orders", key=key)
        await broker.publish(
            Message(
                stream="ORDERS",
                subject=ORDER_PLACED.subject_of(key),
                id=envelope.id,
                data=OrderPlaced(order_id=key, total=number).SerializeToString(),
                headers=headers_for(ORDER_PLACED, envelope, time=0.0),
            )
        )


async def put_letters(broker: Broker, *keys: str, consumer: str = "stock", **told: Any) -> None:
    """Put an event a key aside, as what a consumer could not handle; it is in no stream."""
    for number, key in enumerate(keys, start=1):
        event = Parked(
            partition=0,
            key=key,
            sequence=number,
            event_id=f"id-{key}",
            subject=ORDER_PLACED.subject_of(key),
            headers=headers_for(ORDER_PLACED, Envelope(id=f"id-{key}", source="orders", key=key), time=0.0),
            data=OrderPlaced(order_id=key).SerializeToString(),
            stored_at=0.0,
        )
        reason = told.get("reason", "no such article")
        await DeadLetters(broker).put(
            consumer, ParkedDelivery(event, "ORDERS"), reason, attempts=3, stack="a.py:1 in f: g() | b.py:2 in g: h()"
        )
