"""What the framework needs of a broker. Small, so that an adapter is small."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

__all__ = ["MAX_BATCH", "Appender", "Broker", "Consumer", "Delivery", "Holding", "Message", "Publisher", "Stored"]

MAX_BATCH = 1000
"""The most messages that are appended at once: what NATS takes in an atomic batch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A message on its way to a stream. A stream stores an id once within its window for duplicates."""

    stream: str
    subject: str
    id: str
    data: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


class Delivery(Protocol):
    """A message on its way to a consumer. Not settled within the consumer's ``ack_wait``, it is delivered again."""

    @property
    def subject(self) -> str:
        """Subject it was published to."""
        ...

    @property
    def data(self) -> bytes:
        """The payload."""
        ...

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers, by the names they were published with."""
        ...

    @property
    def stream(self) -> str:
        """Stream it comes from."""
        ...

    @property
    def sequence(self) -> int:
        """Its place in the stream."""
        ...

    @property
    def deliveries(self) -> int:
        """How often it was delivered to this consumer, this time included."""
        ...

    async def ack(self) -> None:
        """Settle it for good. When the broker does not get word of it, the message comes again.

        Raises ``MessagingError`` when the broker is away.
        """
        ...

    async def nak(self) -> None:
        """Ask for it again at once."""
        ...

    async def in_progress(self) -> None:
        """Ask for another ``ack_wait``."""
        ...


class Publisher(Protocol):
    """Where messages go."""

    async def publish(self, message: Message) -> None:
        """Return once the stream has stored the message, or had stored its id before.

        Raises ``MessagingError`` when it is unknown whether it did, or when it refused. Nothing is stored later on
        behalf of a publish that has raised, save what was on the wire already.
        """
        ...


@dataclass(frozen=True, slots=True)
class Stored:
    """A message's place in its stream, and its id."""

    sequence: int
    id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """How much a stream holds, and whether something may be missing that it removed by itself."""

    messages: int
    max_age: float | None = None
    """Seconds after which it removes a message, or None for never."""
    limited: bool = False
    """Whether it removes the oldest messages, because of their age or because there are too many."""
    consuming: bool = False
    """Whether it removes messages that were settled by their consumers."""
    removed: bool = False
    """Whether messages were removed from its beginning or amid, by itself or by hand."""


class Appender(Protocol):
    """Where messages go whose sender knows what was stored before them, and must not be overtaken by another sender."""

    async def append(self, messages: Sequence[Message], expected: Mapping[str, int]) -> Mapping[str, int]:
        """Store messages of one stream in their order, if the last sequence of each of their subjects is as expected.

        At most ``MAX_BATCH`` of them; 0 is expected of a subject without messages. Return the subjects' new last
        sequences. A broker that can stores all or nothing. With any other a prefix of each partition's messages (those
        whose subjects end alike) may have been stored when it raises.

        Raises ``MessagingError``: ``ABORTED`` when a subject has another last sequence, or an id is stored already;
        ``INVALID_ARGUMENT``, ``PERMISSION_DENIED`` or ``NOT_FOUND`` when the broker refuses a message, and will again;
        any other code when it is away or full, or when it is unknown what was stored.
        """
        ...

    async def last(self, stream: str, subject: str) -> int:
        """Return the sequence of the last message of a subject, or 0."""
        ...

    async def stored_after(self, stream: str, subject: str, sequence: int, most: int) -> Sequence[Stored]:
        """Return the first ``most`` messages of a subject after a sequence, oldest first: fewer when there are no more.

        What it says is true of the stream, not of a copy that may be behind or ahead.
        """
        ...


class Consumer(Protocol):
    """A durable place in a stream, shared by all who consume under its name."""

    async def fetch(self, most: int, timeout: float) -> Sequence[Delivery]:
        """Wait up to ``timeout`` seconds for at least one message and return at most ``most``, or none."""
        ...

    async def pending(self) -> int:
        """Count the messages not yet settled, delivered or not. In a cluster this may be behind what the stream has."""
        ...

    async def close(self) -> None:
        """Stop fetching. The place in the stream stays."""
        ...


class Broker(Publisher, Appender, Protocol):
    """A broker with durable streams."""

    async def ensure_stream(self, name: str, subjects: Sequence[str]) -> None:
        """Create the stream, or check that the one there has these subjects. Raises ``MessagingError``."""
        ...

    async def holding(self, stream: str) -> Holding | None:
        """Return how much a stream holds, or None when there is no stream of that name."""
        ...

    async def consume(
        self, stream: str, name: str, filters: Sequence[str], *, ack_wait: float, max_in_flight: int
    ) -> Consumer:
        """Create or find the durable consumer ``name`` of the subjects in ``filters``, from the stream's beginning.

        At most ``max_in_flight`` messages are delivered and not settled, over all who share it: with 1 each waits for
        the one before.
        """
        ...
