"""NATS as a broker: with JetStream, and without any durability. The only package that imports nats."""

from carrick.messaging.intake import IntakeOptions
from carrick.messaging.nats.at_most_once import AtMostOnce
from carrick.messaging.nats.broker import NatsBroker

__all__ = ["AtMostOnce", "IntakeOptions", "NatsBroker"]
