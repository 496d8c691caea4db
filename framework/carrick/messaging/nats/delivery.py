"""A message on its way to a consumer, and what JetStream says of it in the subject that one replies to."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Protocol

__all__ = ["NatsDelivery", "Settling", "headers_of", "place_of"]

_ACK, _PROGRESS = b"", b"+WPI"
_TOKENS = 9  # $JS.ACK.<stream>.<consumer>.<delivered>.<stream seq>.<consumer seq>.<time>.<pending>


def place_of(reply: bytes) -> tuple[int, int, int, int, int]:
    """Return what a reply's subject says: deliveries, stream and consumer sequence, time stored in ns, what follows.

    Newer servers put a domain and an account's hash behind ``$JS.ACK``, and may put something random at the end. Raises
    ``ValueError`` when it is no such subject.
    """
    tokens = reply.split(b".")
    first = 4 if len(tokens) == _TOKENS else 6
    delivered, stream, consumer, time, rest = tokens[first : first + 5]
    return int(delivered), int(stream), int(consumer), int(time), int(rest)


def headers_of(block: bytes | None) -> dict[str, str]:
    """Parse a block of headers: ``NATS/1.0``, then a line for each; what is no header is left out."""
    found: dict[str, str] = {}
    if block is not None:
        for line in block.decode("utf-8", "replace").split("\r\n")[1:]:
            name, colon, value = line.partition(":")
            if colon and (named := _named(name)):
                found[named] = value.strip()
    return found


@lru_cache(maxsize=1024)
def _named(name: str) -> str:
    """Return the name of a header, or nothing when it is none."""
    name = name.strip()
    return name if name.isascii() and len(name.split()) == 1 else ""


class Settling(Protocol):
    """Who sends what a delivery says, and knows what is not settled."""

    @property
    def stream(self) -> str:
        """Stream of all its deliveries."""
        ...

    def say(self, delivery: "NatsDelivery", word: bytes, what: str) -> None:
        """Send a word about a delivery. Raises ``MessagingError`` when it can't be sent."""
        ...

    def settled(self, delivery: "NatsDelivery") -> None:
        """Hear that it was acknowledged."""
        ...

    def handed_back(self, delivery: "NatsDelivery") -> None:
        """Hear that it is to come again."""
        ...

    def prolonged(self, delivery: "NatsDelivery") -> None:
        """Hear that it got another ``ack_wait``."""
        ...


class NatsDelivery:
    """A message with its place. Headers are parsed when they are asked for."""

    __slots__ = (
        "_block",
        "_consumer",
        "_headers",
        "_subject",
        "data",
        "deliveries",
        "reply",
        "sequence",
        "time",
        "until",
    )

    def __init__(
        self,
        consumer: Settling,
        subject: bytes,
        reply: bytes,
        data: bytes,
        block: bytes | None,
        place: tuple[int, int, int, int, int],
        until: float,
    ) -> None:
        self._consumer = consumer
        self._subject = subject
        self._block = block
        self._headers: dict[str, str] | None = None
        self.reply: bytes | None = reply
        """Where to settle it: another after a redelivery, None when the stream it came from is gone."""
        self.data = data
        self.deliveries, self.sequence, _, self.time, _ = place
        self.until = until
        """When the broker delivers it again, by the loop's clock."""

    @property
    def subject(self) -> str:
        """Subject it was published to."""
        return self._subject.decode()

    @property
    def headers(self) -> Mapping[str, str]:
        """Headers, without what is none."""
        if self._headers is None:
            self._headers = headers_of(self._block)
        return self._headers

    @property
    def stream(self) -> str:
        """Stream it comes from."""
        return self._consumer.stream

    @property
    def stored_at(self) -> float:
        """When it was stored: seconds since the epoch."""
        return self.time / 1e9

    async def ack(self) -> None:
        """Settle it."""
        self._consumer.say(self, _ACK, "ack")
        self._consumer.settled(self)

    async def nak(self, delay: float = 0.0) -> None:
        """Ask for it again."""
        word = b'-NAK {"delay": %d}' % round(delay * 1e9) if delay > 0 else b"-NAK"
        self._consumer.say(self, word, "nak")
        self._consumer.handed_back(self)

    async def in_progress(self) -> None:
        """Ask for more time."""
        self._consumer.say(self, _PROGRESS, "renewal")
        self._consumer.prolonged(self)
