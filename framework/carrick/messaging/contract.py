"""What the framework needs of a broker. Small, so that an adapter is small."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

__all__ = ["Broker", "Consumer", "Delivery", "Message", "Publisher"]


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


class Consumer(Protocol):
    """A durable place in a stream, shared by all who consume under its name."""

    async def fetch(self, most: int, timeout: float) -> Sequence[Delivery]:
        """Wait up to ``timeout`` seconds for at least one message and return at most ``most``, or none."""
        ...

    async def pending(self) -> int:
        """Count the messages not yet settled, delivered or not."""
        ...

    async def close(self) -> None:
        """Stop fetching. The place in the stream stays."""
        ...


class Broker(Publisher, Protocol):
    """A broker with durable streams."""

    async def ensure_stream(self, name: str, subjects: Sequence[str]) -> None:
        """Create the stream, or check that the one there has these subjects. Raises ``MessagingError``."""
        ...

    async def consume(
        self, stream: str, name: str, filters: Sequence[str], *, ack_wait: float, max_in_flight: int
    ) -> Consumer:
        """Create or find the durable consumer ``name`` of the subjects in ``filters``, from the stream's beginning.

        At most ``max_in_flight`` messages are delivered and not settled, over all who share it: with 1 each waits for
        the one before.
        """
        ...
