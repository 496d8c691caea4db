"""What a contract says about one event, as generated code hands it to the framework."""

import hashlib
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from google.protobuf.message import Message

from carrick.options import HandlingOptions

__all__ = ["PARTITIONS", "EventSpec", "partition_in", "partition_of"]

Event = TypeVar("Event", bound=Message)

PARTITIONS = 16
"""Partitions of a stream. Fixed: changing it would send a key's later events past its earlier ones."""


def partition_of(key: str) -> int:
    """Return the partition of a key, 0 to 15: the same in every process and version (BLAKE2b)."""
    return hashlib.blake2b(key.encode(), digest_size=1).digest()[0] % PARTITIONS


def partition_in(subject: str) -> int | None:
    """Return the partition that a subject names, ``orders.placed.v1.p07``, or None."""
    token = subject.rpartition(".")[2]
    number = token[1:]
    if token[:1] != "p" or not (number.isascii() and number.isdecimal()) or int(number) >= PARTITIONS:
        return None
    return int(number)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EventSpec(Generic[Event]):
    """One event of a contract. Compared and hashed by identity: there is one constant an event."""

    full_name: str
    """Full name of the message, ``shop.orders.v1.OrderPlaced``; CloudEvents' ``type``."""
    subject: str
    """The contract's subject, ``orders.placed.v1``. A partition token is added when it is published."""
    key: str
    """Name of the field whose value keeps events in order."""
    message: type[Event]
    unordered: bool = False
    """Whether the order of a key's events does not matter: later ones may pass one that is refused or fails."""
    handling: HandlingOptions = HandlingOptions()  # noqa: RUF009  # frozen
    """What its consumers do, unless they say otherwise."""
    description: str = ""
    """The first paragraph of the contract's comment."""
    source: str = ""
    """Path of the contract, ``shop/orders/v1/orders.proto``."""
    deprecated: bool = False

    stream: str = field(init=False)
    """JetStream stream that holds it: the subject's first token in capitals."""
    stream_subjects: str = field(init=False)
    consumer_filter: str = field(init=False)
    """Subject filter that matches every partition of this event."""

    def __post_init__(self) -> None:
        root = self.subject.partition(".")[0]
        object.__setattr__(self, "stream", root.upper())
        object.__setattr__(self, "stream_subjects", f"{root}.>")
        object.__setattr__(self, "consumer_filter", f"{self.subject}.*")

    def key_of(self, event: Event) -> str:
        """Return the event's key as text."""
        return str(getattr(event, self.key))

    def subject_of(self, key: str) -> str:
        """Return the subject that an event with this key is published to, ``orders.placed.v1.p07``."""
        return self.subject_in(partition_of(key))

    def subject_in(self, partition: int) -> str:
        """Return the subject that events of a partition are published to."""
        return f"{self.subject}.p{partition:02d}"
