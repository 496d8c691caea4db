"""NATS JetStream as a broker. The only package that imports nats."""

from carrick.messaging.nats.broker import NatsBroker

__all__ = ["NatsBroker"]
