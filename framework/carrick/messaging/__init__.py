"""Events from and to a broker. ``carrick.messaging.nats`` has the adapter for NATS JetStream."""

from carrick.messaging.contract import Broker, Consumer, Delivery, Message, Publisher
from carrick.messaging.deadletter import DeadLetters
from carrick.messaging.subscriber import Subscriber, SubscriberOptions

__all__ = [
    "Broker",
    "Consumer",
    "DeadLetters",
    "Delivery",
    "Message",
    "Publisher",
    "Subscriber",
    "SubscriberOptions",
]
