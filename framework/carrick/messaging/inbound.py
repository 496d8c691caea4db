"""From a message to an event that a consumer's handler takes."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

from google.protobuf.message import Message as ProtoMessage

from carrick.errors import ConfigurationError
from carrick.event import EventSpec
from carrick.ids import random_id
from carrick.messaging.cloudevents import Envelope, decode, read
from carrick.options import UnknownType
from carrick.route import EventRoute, Upcaster
from carrick.store.parking import Parked

__all__ = ["Inbound", "ParkedDelivery", "Parsed", "Received", "Skipped", "UnreadableError"]


class Received(Protocol):
    """A message as it came: a delivery, or what it was parked as."""

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
        """How often it was delivered, or tried, this time included."""
        ...

    @property
    def stored_at(self) -> float:
        """When the stream stored it: seconds since the epoch."""
        ...


class ParkedDelivery:
    """A parked event as the message that it came in."""

    __slots__ = ("data", "deliveries", "headers", "sequence", "stored_at", "stream", "subject")

    def __init__(self, event: Parked, stream: str) -> None:
        self.subject = event.subject
        self.data = event.data
        self.headers = event.headers
        self.stream = stream
        self.sequence = event.sequence
        self.deliveries = event.attempts + 1
        self.stored_at = event.stored_at


class UnreadableError(Exception):
    """The message can't be handled, now or ever. ``key`` is that of its event, where it is known."""

    def __init__(self, reason: str, key: str | None) -> None:
        super().__init__(reason)
        self.key = key


class Skipped(Exception):  # noqa: N818  # nothing is wrong
    """The message is none of this consumer's, as the contract says."""


@dataclass(frozen=True, slots=True)
class Parsed:
    """An event, and what handles it."""

    event: ProtoMessage
    envelope: Envelope
    route: EventRoute[Any]
    key: str


class Inbound:
    """The routes of a consumer: which subjects it wants, and what becomes of a message."""

    def __init__(self, consumer: str, routes: Iterable[EventRoute[Any]]) -> None:
        self._consumer = consumer
        self._types: dict[str, tuple[EventSpec[Any], EventRoute[Any], Upcaster[Any] | None]] = {}
        for route in routes:
            for spec, upcaster in ((route.spec, None), *((each.spec, each) for each in route.upcasters)):
                if spec.full_name in self._types:
                    raise ConfigurationError(f"consumer {consumer} has two routes for {spec.full_name}; leave out one")
                if spec.unordered != route.spec.unordered:
                    raise ConfigurationError(
                        f"{spec.full_name} and {route.spec.full_name}: either both are unordered or none is"
                    )
                self._types[spec.full_name] = (spec, route, upcaster)
        self._subjects = {entry[0].subject: entry for entry in self._types.values()}

    @property
    def specs(self) -> list[EventSpec[Any]]:
        """The events that are subscribed to."""
        return [spec for spec, _, _ in self._types.values()]

    def parse(self, received: Received) -> Parsed:
        """Raise :class:`UnreadableError` with the reason, or :class:`Skipped`."""
        envelope = read(received.headers, fallback_id=f"{received.stream}:{received.sequence}")
        if envelope.correlation_id is None:
            envelope = replace(envelope, correlation_id=random_id())
        spec, route, upcaster = self._entry(envelope, received.subject)
        try:
            event = decode(spec, envelope, received.data)
        except ValueError as error:
            raise UnreadableError(str(error), envelope.key) from error
        key = spec.key_of(event) if envelope.key is None else envelope.key
        return Parsed(event if upcaster is None else _upcast(upcaster, event, key), envelope, route, key)

    def _entry(self, envelope: Envelope, subject: str) -> tuple[EventSpec[Any], EventRoute[Any], Upcaster[Any] | None]:
        of_subject = self._subjects.get(subject.rpartition(".")[0])
        entry = of_subject if envelope.type is None else self._types.get(envelope.type)
        if entry is not None:
            return entry
        if of_subject is not None and of_subject[1].options.unknown_type is UnknownType.SKIP:
            raise Skipped
        raise UnreadableError(f"{self._consumer} handles no events of type {envelope.type!r}", envelope.key)


def _upcast(upcaster: Upcaster[Any], event: ProtoMessage, key: str) -> ProtoMessage:
    try:
        made: ProtoMessage = upcaster.upcast(event)
    except Exception as error:
        raise UnreadableError(
            f"the upcaster of {upcaster.spec.full_name} failed: {type(error).__name__}: {error}", key
        ) from error
    return made
