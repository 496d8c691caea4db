"""Events from and to a broker. ``carrick.messaging.nats`` has the adapter for NATS JetStream."""

from typing import TYPE_CHECKING

from carrick._on_demand import on_demand
from carrick.messaging.contract import (
    MAX_BATCH,
    Appender,
    Broker,
    Consumer,
    Delivery,
    Holding,
    Message,
    Place,
    Publisher,
    Reader,
    Record,
    Stored,
)
from carrick.messaging.deadletter import DeadLetters

if TYPE_CHECKING:
    from carrick.messaging.guarded import GuardedBroker
    from carrick.messaging.replay import Replay, ReplayProgress
    from carrick.messaging.subscriber import Subscriber, SubscriberOptions
else:
    __getattr__ = on_demand(
        __name__,
        GuardedBroker="carrick.messaging.guarded",
        Replay="carrick.messaging.replay",
        ReplayProgress="carrick.messaging.replay",
        Subscriber="carrick.messaging.subscriber",
        SubscriberOptions="carrick.messaging.subscriber",
    )

__all__ = [
    "MAX_BATCH",
    "Appender",
    "Broker",
    "Consumer",
    "DeadLetters",
    "Delivery",
    "GuardedBroker",
    "Holding",
    "Message",
    "Place",
    "Publisher",
    "Reader",
    "Record",
    "Replay",
    "ReplayProgress",
    "Stored",
    "Subscriber",
    "SubscriberOptions",
]
