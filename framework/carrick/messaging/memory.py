"""A broker in memory, for tests: same contract, one process, gone when it ends."""

import asyncio
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from carrick.clock import Clock, SystemClock
from carrick.errors import Code, MessagingError
from carrick.messaging.contract import Consumer, Delivery, Holding, Message, Place, Record, Stored
from carrick.subjects import matches

__all__ = ["MemoryBroker"]


@dataclass(slots=True)
class _Stored:
    sequence: int
    message: Message
    stored_at: float
    expires: float
    """By the clock's monotonic time."""

    @property
    def headers(self) -> dict[str, str]:
        return {**self.message.headers, "Nats-Msg-Id": self.message.id}


@dataclass(slots=True)
class _Stream:
    name: str
    subjects: tuple[str, ...]
    clock: Clock
    last_only_for: float | None = None
    messages: dict[int, _Stored] = field(default_factory=dict)
    ends: dict[str, int] = field(default_factory=dict)
    """The last sequence of each subject."""
    last_sequence: int = 0
    ids: set[str] = field(default_factory=set)
    made_at: float = field(init=False)
    changed: list[Callable[[], None]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.made_at = self.clock.wall()

    def store(self, message: Message) -> None:
        """Put a message at the end, and in the place of the one before if only the last is kept."""
        self.last_sequence += 1
        self.ids.add(message.id)
        if self.last_only_for is not None:
            self.messages.pop(self.ends.get(message.subject, 0), None)
        kept_for = min(math.inf if each is None else each for each in (self.last_only_for, message.ttl))
        expires = self.clock.monotonic() + kept_for
        self.messages[self.last_sequence] = _Stored(self.last_sequence, message, self.clock.wall(), expires)
        self.ends[message.subject] = self.last_sequence

    def remove(self, sequence: int) -> bool:
        """Remove a message: the one before is its subject's last then."""
        gone = self.messages.pop(sequence, None)
        if gone is None:
            return False
        subject = gone.message.subject
        if self.ends[subject] == sequence:
            of_it = (each.sequence for each in reversed(self.messages.values()) if each.message.subject == subject)
            self.ends[subject] = next(of_it, 0)
        return True

    def expire(self) -> None:
        """Remove what is too old."""
        if self.last_only_for is not None:
            now = self.clock.monotonic()
            for each in [each for each in self.messages.values() if each.expires <= now]:
                self.remove(each.sequence)

    def takes(self, subject: str) -> bool:
        """Say whether it stores messages of a subject."""
        return any(matches(subject, each) for each in self.subjects)

    def notify(self) -> None:
        """Wake who waits."""
        for wake in tuple(self.changed):
            wake()


@dataclass(slots=True)
class _Place:
    """A durable consumer's place: what it has looked at, what is out, until when, and what is to come again."""

    filters: tuple[str, ...]
    ack_wait: float
    max_in_flight: int
    looked_to: int
    """Everything up to this sequence was delivered, or does not match."""
    out: dict[int, float] = field(default_factory=dict)
    """Sequence to when it is delivered again."""
    deliveries: dict[int, int] = field(default_factory=dict)
    """How often what is not settled was delivered."""
    delayed: dict[int, float] = field(default_factory=dict)
    """What was handed back: sequence to when it is delivered again."""
    paused_until: float = -math.inf

    def wants(self, message: Message) -> bool:
        """Say whether it gets a message."""
        return any(matches(message.subject, each) for each in self.filters)

    def deliver(self, sequence: int, now: float) -> None:
        """Note that a message is out, once more."""
        self.looked_to = max(self.looked_to, sequence)
        self.out[sequence] = now + self.ack_wait
        self.delayed.pop(sequence, None)
        self.deliveries[sequence] = self.deliveries.get(sequence, 0) + 1

    def settle(self, sequence: int) -> None:
        """Settle for good."""
        self.out.pop(sequence, None)
        self.delayed.pop(sequence, None)
        self.deliveries.pop(sequence, None)


class MemoryBroker:
    """Streams, durable consumers, acknowledgements and redelivery, in memory. Used from one event loop.

    Ids are remembered for ever. ``available = False`` makes everything raise, as in an outage.
    """

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._streams: dict[str, _Stream] = {}
        self._places: dict[tuple[str, str], _Place] = {}
        self._available = True

    @property
    def available(self) -> bool:
        """Whether it answers."""
        return self._available

    @available.setter
    def available(self, available: bool) -> None:
        self._available = available
        for stream in self._streams.values():
            stream.notify()

    def delete_stream(self, name: str) -> None:
        """Delete a stream with its consumers, as somebody might by hand."""
        stream = self._streams.pop(name)
        for key in [key for key in self._places if key[0] == name]:
            del self._places[key]
        stream.notify()

    def delete_consumer(self, stream: str, name: str) -> None:
        """Delete a durable consumer, as somebody might by hand: who has it open makes it anew."""
        del self._places[stream, name]

    def messages(self, stream: str) -> list[Message]:
        """Return what a stream holds, oldest first."""
        return [stored.message for stored in self._stream(stream).messages.values()]

    async def publish(self, message: Message) -> None:
        """Store the message unless its id is stored."""
        self._check()
        stream = self._stream(message.stream)
        if not stream.takes(message.subject):
            raise MessagingError(Code.UNAVAILABLE, f"no stream takes {message.subject}")
        if message.id not in stream.ids:
            stream.store(message)
            stream.notify()

    async def append(self, messages: Sequence[Message], expected: Mapping[str, int]) -> Mapping[str, int]:
        """Store all messages, or none."""
        self._check()
        stream = self._stream(messages[0].stream)
        for message in messages:
            if not stream.takes(message.subject):
                raise MessagingError(Code.NOT_FOUND, f"no stream takes {message.subject}")
        for subject in {message.subject for message in messages}:
            if (last := stream.ends.get(subject, 0)) != expected[subject]:
                raise MessagingError(Code.ABORTED, f"{subject} has gone on to {last}")
        if stream.ids & {message.id for message in messages}:
            raise MessagingError(Code.ABORTED, "an id is stored already")
        for message in messages:
            stream.store(message)
        stream.notify()
        return {message.subject: stream.ends[message.subject] for message in messages}

    async def last(self, stream: str, subject: str) -> int:
        """Return a subject's last sequence, or 0."""
        self._check()
        return self._stream(stream).ends.get(subject, 0)

    async def stored_after(self, stream: str, subject: str, sequence: int, most: int) -> Sequence[Stored]:
        """Return a subject's messages after a sequence."""
        found = await self.read(stream, subject, sequence, most)
        return [Stored(each.sequence, each.headers["Nats-Msg-Id"]) for each in found]

    async def latest(self, stream: str, pattern: str) -> Sequence[Record]:
        """Return the last messages of the subjects."""
        self._check()
        found = self._stream(stream)
        ends = sorted(end for subject, end in found.ends.items() if end and matches(subject, pattern))
        return [_record(found.messages[each]) for each in ends]

    async def read(self, stream: str, pattern: str, after: int, most: int) -> Sequence[Record]:
        """Return messages after a sequence."""
        self._check()
        found: list[Record] = []
        for stored in _after(self._stream(stream), after):
            if len(found) >= most:
                break
            if matches(stored.message.subject, pattern):
                found.append(_record(stored))
        return found

    async def remove(self, stream: str, sequence: int) -> bool:
        """Remove a message; its sequence stays empty."""
        self._check()
        return self._stream(stream).remove(sequence)

    async def place(self, stream: str, name: str) -> Place | None:
        """Return where a consumer is."""
        self._check()
        place = self._places.get((stream, name))
        if place is None:
            return None
        found = self._stream(stream)
        unsettled = [each for each in place.deliveries if each in found.messages]
        return Place(
            filters=list(place.filters),
            pending=sum(place.wants(each.message) for each in _after(found, place.looked_to)),
            in_flight=len(unsettled),
            redelivered=sum(place.deliveries[each] > 1 for each in unsettled),
            settled_to=min(unsettled, default=place.looked_to + 1) - 1,
            paused=place.paused_until > self._clock.wall(),
        )

    async def places(self, stream: str) -> Sequence[str]:
        """Return the names of consumers."""
        self._check()
        self._stream(stream)
        return sorted(name for of, name in self._places if of == stream)

    async def ensure_stream(self, name: str, subjects: Sequence[str], *, last_only_for: float | None = None) -> None:
        """Create the stream, or check its subjects."""
        self._check()
        stream = self._streams.setdefault(name, _Stream(name, tuple(subjects), self._clock, last_only_for))
        missing = set(subjects) - set(stream.subjects)
        if missing:
            raise MessagingError(Code.FAILED_PRECONDITION, f"stream {name} lacks the subjects {sorted(missing)}")

    async def holding(self, stream: str) -> Holding | None:
        """Count the messages."""
        self._check()
        if stream not in self._streams:
            return None
        found = self._stream(stream)
        return Holding(
            messages=len(found.messages),
            max_age=found.last_only_for,
            limited=found.last_only_for is not None,
            removed=len(found.messages) < found.last_sequence,
            last=found.last_sequence,
            made_at=found.made_at,
        )

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
        """Create or find the durable consumer."""
        self._check()
        found = self._stream(stream)
        wanted = _Place(tuple(filters), ack_wait, max_in_flight, after)
        place = self._places.setdefault((stream, name), wanted)
        place.filters, place.ack_wait, place.max_in_flight = wanted.filters, ack_wait, max_in_flight
        return _MemoryConsumer(self, name, found, replace(wanted), self._clock, max_bytes, ordered=ordered)

    async def pause(self, stream: str, name: str, until: float) -> None:
        """Pause a consumer by the clock's wall time."""
        self._check()
        place = self._places.get((stream, name))
        if place is None:
            raise MessagingError(Code.NOT_FOUND, f"stream {stream} has no consumer {name}")
        place.paused_until = until
        self._stream(stream).notify()

    def _stream(self, name: str) -> _Stream:
        try:
            stream = self._streams[name]
        except KeyError:
            raise MessagingError(Code.UNAVAILABLE, f"there is no stream {name}") from None
        stream.expire()
        return stream

    def _check(self) -> None:
        if not self._available:
            raise MessagingError(Code.UNAVAILABLE, "the broker is away")


class _MemoryConsumer:
    """Takes what is next from its place; an ordered one all that is not settled and that it has not handed out."""

    def __init__(
        self,
        broker: MemoryBroker,
        name: str,
        stream: _Stream,
        wanted: _Place,
        clock: Clock,
        max_bytes: int,
        *,
        ordered: bool,
    ) -> None:
        self._broker = broker
        self._name = name
        self.stream = stream
        self._wanted = wanted
        """What its place is made as when somebody has deleted it."""
        self.clock = clock
        self._max_bytes = max_bytes
        self._ordered = ordered
        self._held: dict[int, _MemoryDelivery] = {}
        self._high = 0
        self._news = asyncio.Event()
        self._closed = False
        stream.changed.append(self._news.set)

    async def fetch(self, most: int, timeout: float) -> Sequence[Delivery]:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        while True:
            self.check()
            self._news.clear()
            if found := self._next(most):
                return found
            changes_in = self._changes_in()
            timer = None if changes_in is None else self.clock.call_later(changes_in, self._news.set)
            try:
                async with asyncio.timeout_at(deadline):
                    await self._news.wait()
            except TimeoutError:
                return ()
            finally:
                if timer is not None:
                    timer.cancel()

    async def pending(self) -> int:
        self.check()
        place = await self._broker.place(self.stream.name, self._name)
        return place.pending + place.in_flight if place is not None else 0

    async def close(self) -> None:
        if not self._closed:
            self._closed = True
            if self._news.set in self.stream.changed:
                self.stream.changed.remove(self._news.set)
            self._news.set()

    def check(self) -> None:
        """Raise when it can't be used; go on to a stream that was made anew."""
        self._broker._check()
        if self._closed:
            raise MessagingError(Code.FAILED_PRECONDITION, f"consumer {self._name} was closed")
        stream = self._broker._stream(self.stream.name)
        if stream is not self.stream:
            self.stream = stream
            stream.changed.append(self._news.set)
            self._held, self._high, self._wanted.looked_to = {}, 0, 0

    @property
    def place(self) -> _Place:
        """The place of its name, made anew when it is gone."""
        places, key = self._broker._places, (self.stream.name, self._name)
        if key not in places:
            begin = min(self._held, default=self._high + 1) - 1 if self._ordered and self._high else None
            places[key] = _Place(
                self._wanted.filters,
                self._wanted.ack_wait,
                self._wanted.max_in_flight,
                self._wanted.looked_to if begin is None else begin,
            )
        return places[key]

    def forget(self, delivery: "_MemoryDelivery") -> None:
        """Hear that one of its deliveries is settled, or is to come again."""
        if self._held.get(delivery.sequence) is delivery:
            del self._held[delivery.sequence]
        self.stream.notify()

    def _next(self, most: int) -> list[Delivery]:
        self.stream.expire()
        now, place, found = self.clock.monotonic(), self.place, list[Delivery]()
        if place.paused_until > self.clock.wall():
            return found
        for sequence in [each for each in place.out if each not in self.stream.messages]:
            place.settle(sequence)
            self._held.pop(sequence, None)
        in_flight = len(place.out) if self._ordered else sum(again > now for again in place.out.values())
        size = sum(len(each.data) for each in self._held.values() if self._ordered or each.is_out(now))
        for stored in self._candidates(now):
            again = stored.sequence in place.out
            if len(found) >= most or size >= self._max_bytes or (in_flight >= place.max_in_flight and not again):
                break
            found.append(self._deliver(stored, now))
            in_flight, size = in_flight + (not again or not self._ordered), size + len(stored.message.data)
        return found

    def _candidates(self, now: float) -> Iterator[_Stored]:
        """Yield what was delivered and comes again, or comes here too, then what was never delivered."""
        place = self.place
        if self._ordered:
            again = [each for each in place.out if each not in self._held and place.delayed.get(each, now) <= now]
        else:
            again = [each for each, until in place.out.items() if until <= now]
        for sequence in sorted(again):
            yield self.stream.messages[sequence]
        for stored in _after(self.stream, place.looked_to):
            known = self._ordered and stored.sequence <= self._high
            if place.wants(stored.message) and not known:
                yield stored
            else:
                place.looked_to = stored.sequence
            if known and stored.sequence in self._held:
                place.deliver(stored.sequence, now)

    def _deliver(self, stored: _Stored, now: float) -> "_MemoryDelivery":
        self.place.deliver(stored.sequence, now)
        self._high = max(self._high, stored.sequence)
        self._held[stored.sequence] = delivery = _MemoryDelivery(self, stored)
        return delivery

    def _changes_in(self) -> float | None:
        """Return the seconds after which something comes again, by the clock."""
        now = self.clock.monotonic()
        times = [until for until in (*self.place.out.values(), *self.place.delayed.values()) if until > now]
        if (pause := self.place.paused_until - self.clock.wall()) > 0:
            times.append(now + pause)
        return min(times) - now if times else None


class _MemoryDelivery:
    def __init__(self, consumer: _MemoryConsumer, stored: _Stored) -> None:
        self._consumer = consumer
        self._stored_in = consumer.stream
        self.stream = consumer.stream.name
        self.subject = stored.message.subject
        self.data = stored.message.data
        self.headers: Mapping[str, str] = stored.headers
        self.sequence = stored.sequence
        self.deliveries = consumer.place.deliveries[stored.sequence]
        self.stored_at = stored.stored_at

    def is_out(self, now: float) -> bool:
        """Say whether it is neither settled nor to be delivered again."""
        return self._consumer.place.out.get(self.sequence, -math.inf) > now

    async def ack(self) -> None:
        if (place := self._place()) is not None:
            place.settle(self.sequence)
            self._consumer.forget(self)

    async def nak(self, delay: float = 0.0) -> None:
        if (place := self._place()) is not None:
            if self.sequence in place.out:
                again = self._consumer.clock.monotonic() + delay
                place.out[self.sequence] = place.delayed[self.sequence] = again
            self._consumer.forget(self)

    async def in_progress(self) -> None:
        if (place := self._place()) is not None and self.sequence in place.out:
            place.out[self.sequence] = self._consumer.clock.monotonic() + place.ack_wait

    def _place(self) -> _Place | None:
        """Return where it is to be settled: nowhere when its stream is gone."""
        self._consumer._broker._check()
        return self._consumer.place if self._consumer.stream is self._stored_in else None


def _after(stream: _Stream, sequence: int) -> Iterator[_Stored]:
    """Yield what a stream holds after a sequence."""
    first = next(iter(stream.messages), stream.last_sequence + 1)
    for each in range(max(sequence + 1, first), stream.last_sequence + 1):
        stored = stream.messages.get(each)
        if stored is not None:
            yield stored


def _record(stored: _Stored) -> Record:
    return Record(
        subject=stored.message.subject,
        sequence=stored.sequence,
        data=stored.message.data,
        headers=stored.headers,
        stored_at=stored.stored_at,
    )
