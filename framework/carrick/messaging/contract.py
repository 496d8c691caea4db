"""What the framework needs of a broker. Small, so that an adapter is small."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

__all__ = [
    "MAX_BATCH",
    "Appender",
    "Broker",
    "Consumer",
    "Delivery",
    "Holding",
    "Message",
    "Place",
    "Publisher",
    "Reader",
    "Record",
    "Stored",
]

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
    ttl: float | None = None
    """Seconds after which its stream removes it, one that keeps the last message of each subject only. Whole ones."""


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
        """How often it was delivered to this consumer, this time included, as far as the broker remembers."""
        ...

    @property
    def stored_at(self) -> float:
        """When the stream stored it: seconds since the epoch, by the broker's clock."""
        ...

    async def ack(self) -> None:
        """Settle it for good. When the broker does not get word of it, the message comes again.

        Raises ``MessagingError`` when the broker is away.
        """
        ...

    async def nak(self, delay: float = 0.0) -> None:
        """Ask for it again, at once or after ``delay`` seconds. Others pass it meanwhile: not for ordered consumers."""
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
    last: int = field(default=0, compare=False)
    """The highest sequence that it has given."""
    made_at: float = field(default=0.0, compare=False)
    """When it was made: seconds since the epoch. One that was removed and made again gives sequences anew."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A message as its stream holds it."""

    subject: str
    sequence: int
    data: bytes
    headers: Mapping[str, str]
    stored_at: float
    """Seconds since the epoch, by the broker's clock."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a durable consumer is in its stream, as the broker knows it."""

    pending: int
    """Messages that were never delivered."""
    in_flight: int
    """Messages that were delivered and not settled."""
    redelivered: int
    """Those of them that were delivered more than once."""
    settled_to: int
    """Everything up to this sequence is settled."""
    filters: Sequence[str] = ()
    """The subjects that it is for."""
    paused: bool = False


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


class Reader(Protocol):
    """What can be read of a stream without consuming it."""

    async def latest(self, stream: str, pattern: str) -> Sequence[Record]:
        """Return the last message of each subject that matches. Raises ``MessagingError`` when there is no stream.

        It may be what one of the stream's copies has, a moment behind the others.
        """
        ...

    async def read(self, stream: str, pattern: str, after: int, most: int) -> Sequence[Record]:
        """Return the first ``most`` messages of the subjects that match, after a sequence, oldest first."""
        ...

    async def remove(self, stream: str, sequence: int) -> bool:
        """Remove a message from a stream; say whether it was there."""
        ...

    async def place(self, stream: str, name: str) -> Place | None:
        """Return where a durable consumer is, or None when there is none of that name."""
        ...

    async def places(self, stream: str) -> Sequence[str]:
        """Return the names of a stream's durable consumers, sorted. Raises ``MessagingError`` without the stream."""
        ...


class Consumer(Protocol):
    """A durable place in a stream, shared by all who consume under its name. Used from one event loop."""

    async def fetch(self, most: int, timeout: float) -> Sequence[Delivery]:
        """Wait up to ``timeout`` seconds for at least one message and return at most ``most``, or none.

        Raises ``MessagingError`` while the broker is away. The consumer may be used again afterwards, and finds or
        makes its place anew. A cancellation loses nothing.
        """
        ...

    async def pending(self) -> int:
        """Count the messages not yet settled, delivered or not. In a cluster this may be behind what the stream has."""
        ...

    async def close(self) -> None:
        """Stop fetching, and tell the broker what was acknowledged. The place in the stream stays.

        What a shared consumer has not handed out yet goes to others at once.
        """
        ...


class Broker(Publisher, Appender, Reader, Protocol):
    """A broker with durable streams."""

    async def ensure_stream(self, name: str, subjects: Sequence[str], *, last_only_for: float | None = None) -> None:
        """Create the stream, or check that the one there has these subjects. Raises ``MessagingError``.

        Everything is kept, or with ``last_only_for`` only the last message of each subject, for so many seconds at
        most, or for its ``ttl``.
        """
        ...

    async def holding(self, stream: str) -> Holding | None:
        """Return how much a stream holds, or None when there is no stream of that name."""
        ...

    async def consume(
        self,
        stream: str,
        name: str,
        filters: Sequence[str],
        *,
        ack_wait: float,
        max_in_flight: int,
        max_bytes: int = 64 * 1024 * 1024,
        ordered: bool = False,
        after: int = 0,
    ) -> Consumer:
        """Create or find the durable consumer ``name`` of the subjects in ``filters``.

        A new one begins after the sequence ``after``. At most ``max_in_flight`` messages are delivered and not settled,
        over all who share the name: with 1 each waits for the one before. No more are asked for while those that this
        object handed out and were not settled have ``max_bytes`` of data or more.

        With ``ordered`` a message is handed out only after all earlier ones were handed out to the same object, or
        settled; what others of the name hold unsettled, or was lost on its way, is handed out here too, in its place.
        It is handed out once by each object: when the broker delivers it again meanwhile, what was handed out goes on
        to settle it. One at a time should consume under a name then; several disturb, but never overtake, each other.
        """
        ...

    async def pause(self, stream: str, name: str, until: float) -> None:
        """Deliver nothing to a durable consumer until a moment, in seconds since the epoch: one in the past resumes.

        Whoever has it open sees no messages meanwhile. Raises ``MessagingError``: ``NOT_FOUND`` when there is none of
        that name, ``UNIMPLEMENTED`` when the broker can't.
        """
        ...
