"""A broker in memory, for tests: same contract, one process, gone when it ends."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from carrick.clock import Clock, SystemClock
from carrick.errors import Code, MessagingError
from carrick.messaging.contract import Consumer, Delivery, Holding, Message, Stored
from carrick.messaging.subjects import matches

__all__ = ["MemoryBroker"]


@dataclass(slots=True)
class _Stored:
    sequence: int
    message: Message


@dataclass(slots=True)
class _Stream:
    subjects: tuple[str, ...]
    messages: list[_Stored] = field(default_factory=list)
    ids: set[str] = field(default_factory=set)
    arrived: asyncio.Condition = field(default_factory=asyncio.Condition)

    def store(self, message: Message) -> None:
        """Put a message at the end."""
        self.ids.add(message.id)
        self.messages.append(_Stored(len(self.messages) + 1, message))

    def last(self, subject: str) -> int:
        """Return the sequence of a subject's last message, or 0."""
        return next((each.sequence for each in reversed(self.messages) if each.message.subject == subject), 0)


@dataclass(slots=True)
class _Place:
    """A durable consumer's place: what is out, until when, and what is settled."""

    filters: tuple[str, ...]
    ack_wait: float
    max_in_flight: int
    settled: set[int] = field(default_factory=set)
    out: dict[int, float] = field(default_factory=dict)
    deliveries: dict[int, int] = field(default_factory=dict)


class MemoryBroker:
    """Streams, durable consumers, acknowledgements and redelivery, in memory. Used from one event loop.

    Ids are remembered for ever. ``available = False`` makes everything raise, as in an outage.
    """

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._streams: dict[str, _Stream] = {}
        self._places: dict[tuple[str, str], _Place] = {}
        self.available = True

    def messages(self, stream: str) -> list[Message]:
        """Return what a stream holds, oldest first."""
        return [stored.message for stored in self._stream(stream).messages]

    async def publish(self, message: Message) -> None:
        """Store the message unless its id is stored."""
        self._check()
        stream = self._stream(message.stream)
        if not any(matches(message.subject, subject) for subject in stream.subjects):
            raise MessagingError(Code.UNAVAILABLE, f"no stream takes {message.subject}")
        async with stream.arrived:
            if message.id not in stream.ids:
                stream.store(message)
                stream.arrived.notify_all()

    async def append(self, messages: Sequence[Message], expected: Mapping[str, int]) -> Mapping[str, int]:
        """Store all messages, or none."""
        self._check()
        stream = self._stream(messages[0].stream)
        for message in messages:
            if not any(matches(message.subject, subject) for subject in stream.subjects):
                raise MessagingError(Code.NOT_FOUND, f"no stream takes {message.subject}")
        for subject in {message.subject for message in messages}:
            if stream.last(subject) != expected[subject]:
                raise MessagingError(Code.ABORTED, f"{subject} has gone on to {stream.last(subject)}")
        if stream.ids & {message.id for message in messages}:
            raise MessagingError(Code.ABORTED, "an id is stored already")
        async with stream.arrived:
            for message in messages:
                stream.store(message)
            stream.arrived.notify_all()
        return {message.subject: stream.last(message.subject) for message in messages}

    async def last(self, stream: str, subject: str) -> int:
        """Return a subject's last sequence, or 0."""
        self._check()
        return self._stream(stream).last(subject)

    async def stored_after(self, stream: str, subject: str, sequence: int, most: int) -> Sequence[Stored]:
        """Return a subject's messages after a sequence."""
        self._check()
        found = [each for each in self._stream(stream).messages if each.message.subject == subject]
        return [Stored(each.sequence, each.message.id) for each in found if each.sequence > sequence][:most]

    async def ensure_stream(self, name: str, subjects: Sequence[str]) -> None:
        """Create the stream, or check its subjects."""
        self._check()
        stream = self._streams.setdefault(name, _Stream(tuple(subjects)))
        missing = set(subjects) - set(stream.subjects)
        if missing:
            raise MessagingError(Code.FAILED_PRECONDITION, f"stream {name} lacks the subjects {sorted(missing)}")

    async def holding(self, stream: str) -> Holding | None:
        """Count the messages."""
        self._check()
        found = self._streams.get(stream)
        return None if found is None else Holding(messages=len(found.messages))

    async def consume(
        self, stream: str, name: str, filters: Sequence[str], *, ack_wait: float, max_in_flight: int
    ) -> Consumer:
        """Create or find the durable consumer."""
        self._check()
        place = self._places.setdefault(
            (stream, name), _Place(tuple(filters), ack_wait=ack_wait, max_in_flight=max_in_flight)
        )
        return _MemoryConsumer(self, name, stream, self._stream(stream), place, self._clock)

    def _stream(self, name: str) -> _Stream:
        try:
            return self._streams[name]
        except KeyError:
            raise MessagingError(Code.UNAVAILABLE, f"there is no stream {name}") from None

    def _check(self) -> None:
        if not self.available:
            raise MessagingError(Code.UNAVAILABLE, "the broker is away")


class _MemoryConsumer:
    def __init__(
        self, broker: MemoryBroker, name: str, stream_name: str, stream: _Stream, place: _Place, clock: Clock
    ) -> None:
        self._broker = broker
        self._name = name
        self._stream_name = stream_name
        self._stream = stream
        self._place = place
        self._clock = clock

    async def fetch(self, most: int, timeout: float) -> Sequence[Delivery]:
        self._broker._check()
        try:
            async with asyncio.timeout(timeout), self._stream.arrived:
                while not (found := self._next(most)):
                    await self._wait()
        except TimeoutError:
            return ()
        return found

    async def pending(self) -> int:
        self._broker._check()
        return sum(1 for _ in self._unsettled())

    async def close(self) -> None:
        pass

    def _next(self, most: int) -> list["_MemoryDelivery"]:
        now = self._clock.monotonic()
        place = self._place
        for sequence in [sequence for sequence, until in place.out.items() if until <= now]:
            del place.out[sequence]
        found: list[_MemoryDelivery] = []
        for stored in self._unsettled():
            if len(found) >= most or len(place.out) >= place.max_in_flight:
                break
            if stored.sequence not in place.out:
                place.out[stored.sequence] = now + place.ack_wait
                place.deliveries[stored.sequence] = place.deliveries.get(stored.sequence, 0) + 1
                found.append(_MemoryDelivery(self._broker, self._stream_name, self._stream, place, stored, self._clock))
        return found

    async def _wait(self) -> None:
        """Wait for a message, a settlement, or the end of the first lease."""
        now = self._clock.monotonic()
        wait = min((until - now for until in self._place.out.values()), default=None)
        try:
            async with asyncio.timeout(wait):
                await self._stream.arrived.wait()
        except TimeoutError:
            pass

    def _unsettled(self) -> list[_Stored]:
        return [
            stored
            for stored in self._stream.messages
            if stored.sequence not in self._place.settled
            and any(matches(stored.message.subject, each) for each in self._place.filters)
        ]


class _MemoryDelivery:
    def __init__(
        self, broker: MemoryBroker, stream_name: str, stream: _Stream, place: _Place, stored: _Stored, clock: Clock
    ) -> None:
        self._broker = broker
        self._place = place
        self._clock = clock
        self._stored_in = stream
        self.stream = stream_name
        self.subject = stored.message.subject
        self.data = stored.message.data
        self.headers: Mapping[str, str] = {**stored.message.headers, "Nats-Msg-Id": stored.message.id}
        self.sequence = stored.sequence
        self.deliveries = place.deliveries[stored.sequence]

    async def ack(self) -> None:
        self._broker._check()
        self._place.settled.add(self.sequence)
        await self._give_up()

    async def nak(self) -> None:
        self._broker._check()
        await self._give_up()

    async def in_progress(self) -> None:
        self._broker._check()
        if self.sequence in self._place.out:
            self._place.out[self.sequence] = self._clock.monotonic() + self._place.ack_wait

    async def _give_up(self) -> None:
        self._place.out.pop(self.sequence, None)
        async with self._stored_in.arrived:
            self._stored_in.arrived.notify_all()
