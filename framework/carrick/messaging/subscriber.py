"""Consuming: each event handed to its handler, in order for each key, until its effect is committed or it is put aside.

The processes of a consumer share the partitions of its stream. A partition has a durable place in the stream of its
own, whose messages come in order. Keys do not wait for each other: a failed event is parked in the database with the
later ones of its key, and tried again from there; what can't be parsed, and what failed too often for reasons of its
own, goes to the dead letters. A failure because something else is away is no fault of the event and burns no attempt.
Events without an order go to whichever process asks first, and are handed back when they fail.
"""

import asyncio
import logging
import os
import re
import socket
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Self

from carrick.clock import Clock, SystemClock
from carrick.context import Context
from carrick.errors import ConfigurationError, MessagingError, StoreError
from carrick.event import PARTITIONS, EventSpec
from carrick.instruments import Instruments
from carrick.loop import Loop
from carrick.messaging.contract import Broker, Consumer
from carrick.messaging.deadletter import DeadLetters
from carrick.messaging.handling import Handling, Tally
from carrick.messaging.inbound import Inbound
from carrick.messaging.keeping import Keeping
from carrick.messaging.leases import Leases
from carrick.messaging.parked_keys import ParkedKeys
from carrick.messaging.redrive import REDRIVE_STREAM, REDRIVE_SUBJECTS, Redriven, redrive_filter
from carrick.messaging.replay import Moment, Replay, ReplayProgress
from carrick.messaging.workers import SHARED, Counts, Workers
from carrick.observe import Observer, PartitionsChanged, log
from carrick.route import EventRoute
from carrick.store.inbox import Inbox
from carrick.store.parking import Parking, Position

__all__ = ["Subscriber", "SubscriberOptions"]

_logger = logging.getLogger("carrick.subscriber")
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}").fullmatch
_RENEWALS = 3  # a lease is renewed so many times before it would end
_UNBALANCED = 0.5  # seconds between looks at the leases while others have more than their share
_AWAY = 0.25  # seconds until the broker is asked again after it failed
_COMPLAIN_EVERY = 5.0
_NOTE_EVERY = 30.0
_GROUPS = 4  # transactions of events that are applied together, at a time


@dataclass(frozen=True, slots=True, kw_only=True)
class SubscriberOptions:
    """How a process consumes. How an event is handled, its contract says. Times are seconds."""

    concurrency: int = 64
    """Handlers at a time."""
    group: int = 200
    """Events that are applied in one transaction at most."""
    max_in_flight: int = 64
    """Events of a partition that are delivered and not settled, at most."""
    max_bytes: int = 4 * 1024 * 1024
    """Payload of a partition's such events, beyond which no more are asked for."""
    max_parked: int = 1000
    """Parked events of a partition beyond which it is not read on, until some of them are handled."""
    ack_wait: float = 10.0
    """After a consumer's death its events go to another this much later. Renewed while a handler runs."""
    lease: float = 8.0
    """How long a partition stays with a process that gives no sign of life. Whole seconds, 1 at least."""
    fetch_wait: float = 5.0
    """How long one request for events waits; a stop does not wait for it."""
    poll: float = 5.0
    """How often it is looked for dead letters that were sent again."""

    def __post_init__(self) -> None:
        for name in ("ack_wait", "lease", "fetch_wait", "poll"):
            if not getattr(self, name) > 0:
                raise ConfigurationError(f"{name} must be above 0 seconds, not {getattr(self, name)}")
        if self.lease < 1:
            raise ConfigurationError(f"lease must be 1 second or more, not {self.lease}")
        for name in ("concurrency", "group", "max_in_flight", "max_bytes", "max_parked"):
            if getattr(self, name) < 1:
                raise ConfigurationError(f"{name} must be 1 or more, not {getattr(self, name)}")


class Subscriber:
    """Consumes the events of ``routes`` as ``name``. Starts and stops as a context manager.

    All routes belong to events of one stream: use one subscriber a stream. Any number of processes may share a name:
    they share the partitions.

    With an ``inbox`` each handler ends its transaction with ``await tx.handled()``, or applies its event in the one it
    is given, and an event delivered again has no second effect. Without one, delivery is at least once. Failed events
    are parked in the inbox's database, or without an inbox in that of ``parking``; without either they are kept in
    memory and tried again there, and ``max_in_flight`` of them stop their partition.

    Events that an earlier version of the consumer had routes for go on coming, and are dead letters here, so that none
    is passed over while both versions run, or because one is rolled back: name those that are not wanted any more in
    ``retired``. A route that is added begins with the events that are published from then on.

    Stopping lets the handlers under way finish, up to ``grace`` seconds. Everything else comes again elsewhere.
    """

    def __init__(
        self,
        name: str,
        broker: Broker,
        routes: Iterable[EventRoute[Any]],
        *,
        inbox: Inbox | None,
        parking: Parking | None = None,
        retired: Iterable[EventSpec[Any]] = (),
        options: SubscriberOptions | None = None,
        clock: Clock | None = None,
        observe: Observer = log,
        instruments: Instruments | None = None,
        grace: float = 10.0,
    ) -> None:
        if not _NAME(name):
            raise ConfigurationError(
                f"{name!r} is no name for a consumer; use letters, digits, - and _, like inventory"
            )
        self.name = name
        routes = tuple(routes)
        self._inbound = Inbound(name, routes)
        self._stream, self._stream_subjects = _only_stream(name, self._inbound)
        if inbox is not None and parking is not None:
            raise ConfigurationError(
                f"subscriber {name} parks events in the database of its inbox: leave out parking, or give inbox=None"
            )
        self._parking = Parking(inbox.database) if inbox is not None else parking
        _check(name, routes, inbox, self._parking)
        self._broker = broker
        self._routes = routes
        self._inbox = inbox
        self._instruments = instruments
        self._options = options or SubscriberOptions()
        self._clock = clock or SystemClock()
        self._observe = observe
        self._grace = grace
        self._keeping = Keeping(f"subscriber {name}", self._options.ack_wait, self._clock)
        self._handling = Handling(name, routes, inbox, instruments=instruments, clock=self._clock)
        self._workers = Workers(
            name,
            self._inbound,
            self._handling,
            DeadLetters(broker),
            self._parking,
            self._keeping,
            concurrency=self._options.concurrency,
            groups=_GROUPS if any(route.applies for route in routes) else 0,
            group=self._options.group,
            observe=observe,
            clock=self._clock,
        )
        self._leases = Leases(
            broker,
            self._stream,
            name,
            member=f"{socket.gethostname()}:{os.getpid()}",
            ttl=self._options.lease,
            clock=self._clock,
        )
        self._shared = any(spec.unordered for spec in self._inbound.specs)
        self._ordered = not all(spec.unordered for spec in self._inbound.specs)
        self._readers: dict[int, _Reader] = {}
        self._leaving: dict[int, asyncio.Task[None]] = {}
        self._retired = tuple(retired)
        self._note_at = 0.0
        self._warned = False
        self._complain_at = 0.0
        self._redriven: Consumer | None = None
        self._redriving = Loop(f"subscriber {name}, dead letters that come again", self._redrive, grace=0.0)
        self._sharing = Loop(f"subscriber {name}", self._share, grace=grace)
        self._polling = Loop(f"subscriber {name}, parked events", self._poll, grace=grace)

    @property
    def stream(self) -> str:
        """The stream that its events come from."""
        return self._stream

    @property
    def processed(self) -> int:
        """Events settled so far: handled, found to be handled before, skipped or put aside."""
        return self._workers.processed

    @property
    def counts(self) -> Counts:
        """What became of events since the start. To be read, not to be changed."""
        return self._workers.counts

    @property
    def in_flight(self) -> int:
        """Events that were delivered here and are not settled."""
        return len(self._keeping)

    @property
    def parked(self) -> tuple[int, int]:
        """How many events of the partitions held here are parked, by what was seen of them, and of how many keys."""
        owned = self._workers.parked.values()
        return sum(keys.events for keys in owned), sum(map(len, owned))

    @property
    def partitions(self) -> frozenset[int]:
        """The partitions that this process reads."""
        return frozenset(self._readers) - {SHARED}

    def tell(self, tally: Tally) -> None:
        """Have events measured from now on. ``carrick.telemetry`` has the one for OpenTelemetry."""
        self._handling.tally = tally

    async def pending(self) -> int:
        """Count the events that are not settled yet, by whichever process, save those that wait for a dead letter."""
        places = [*((SHARED,) if self._shared else ()), *(range(PARTITIONS) if self._ordered else ())]
        found = sum([await self._unsettled(place) for place in places])
        if self._parking is not None:
            found += await self._parking.waiting(self.name, self._stream)
        if self._redriven is not None:
            found += await self._redriven.pending()
        return found

    def replay(
        self,
        first: Moment,
        last: Moment | None = None,
        *,
        shadow: Callable[[Any, Context], Awaitable[None]] | None = None,
        under: str | None = None,
        trial: bool = False,
        stop_on_error: bool = False,
        rate: float = 0.0,
        progress: Callable[[ReplayProgress], None] = lambda progress: None,
    ) -> Replay:
        """Return a replay of this consumer's events of a range; this object need not be started for it.

        The range ends with the sequence ``last``, or before that moment, or with what is the newest at the start. Its
        events are handed over in the order of the stream, one at a time, to the consumer's own handlers: what had its
        effect by the inbox is passed over. ``under`` another name everything is handled once more, once. Without an
        inbox everything is handled each time. To a ``shadow`` handler everything is handed in place of the own ones,
        each time; its effect is its own affair.

        Where a contract says ``hold_key``, the later events of a key are left once one failed. A ``trial`` only counts
        what would be handled. ``rate`` is a second at most, or 0. The function ``progress`` must not wait.

        Raises ``ConfigurationError`` when what is asked for does not go together.
        """
        _check_replay(self.name, self._inbox, under, shadow)
        name, routes, inbox = under or self.name, self._routes, self._inbox
        if shadow is not None:
            inbox = None
            routes = tuple([replace(route, handler=shadow, applies=False) for route in routes])
        return Replay(
            self._broker,
            self._stream,
            Inbound(name, routes),
            Handling(name, routes, inbox, instruments=self._instruments, clock=self._clock),
            self._clock,
            first=first,
            last=last,
            remembered=inbox.retention if inbox is not None and under is None else None,
            holds=shadow is None,
            trial=trial,
            stop_on_error=stop_on_error,
            rate=rate,
            progress=progress,
        )

    async def start(self) -> None:
        """Begin to consume. That the broker is away is no reason not to."""
        await self._keeping.start()
        await self._workers.start()
        await self._sharing.start()
        await self._redriving.start()
        if self._parking is not None:
            await self._polling.start()

    async def stop(self) -> None:
        """Stop as the class says. Calling it again does nothing."""
        await self._sharing.stop()
        await self._redriving.stop()
        await self._polling.stop()
        for leaving in tuple(self._leaving.values()):
            leaving.cancel()
            await asyncio.wait((leaving,))
        await asyncio.gather(*(reader.stop() for reader in self._readers.values()))
        await self._workers.stop(self._grace)
        await self._keeping.stop()
        redriven, self._redriven = self._redriven, None
        if redriven is not None:
            with suppress(MessagingError):
                await redriven.close()
        await asyncio.gather(*(self._close(partition) for partition in tuple(self._readers)))
        try:
            await self._leases.leave()
        except MessagingError as error:
            _logger.info("%s: the leases end by themselves: %s", self.name, error)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.stop()

    async def _ensure_stream(self) -> None:
        await self._broker.ensure_stream(self._stream, [self._stream_subjects])

    def _away(self, error: MessagingError) -> None:
        """Log now and then that the broker is away, for all partitions."""
        now = self._clock.monotonic()
        if now >= self._complain_at:
            self._complain_at = now + _COMPLAIN_EVERY
            _logger.warning("subscriber %s can't reach its events: %s", self.name, error)

    def _warn_of(self, subjects: Iterable[str]) -> None:
        """Log once that there are events of another version."""
        if not self._warned:
            self._warned = True
            _logger.warning(
                "subscriber %s has no route for %s, which it consumed in another version: these events are dead "
                "letters, until there is a route for them, or they are given as retired=[...]",
                self.name,
                ", ".join(sorted(subjects)),
            )

    def _place(self, partition: int) -> str:
        """Return the name of a partition's place in the stream."""
        return self.name if partition == SHARED else f"{self.name}-p{partition:02d}"

    async def _unsettled(self, partition: int) -> int:
        place = await self._broker.place(self._stream, self._place(partition))
        if place is None:  # nobody was here yet
            await self._ensure_stream()
            await (await self._consume(partition)).close()
            place = await self._broker.place(self._stream, self._place(partition))
        return 0 if place is None else place.pending + place.in_flight

    async def _consume(self, partition: int) -> Consumer:
        """Open a partition's place in the stream."""
        options, ordered, name = self._options, partition != SHARED, self._place(partition)
        place = await self._broker.place(self._stream, name)
        filters = {_filter(spec, partition) for spec in self._inbound.specs if spec.unordered != ordered}
        others = set() if place is None else set(place.filters) - filters
        others -= {_filter(spec, partition) for spec in self._retired}
        if others:
            self._warn_of(others)
        after = await self._known_to_be_settled(partition) if place is None else 0
        return await self._broker.consume(
            self._stream,
            name,
            sorted(filters | others),
            ack_wait=options.ack_wait,
            max_in_flight=options.max_in_flight,
            max_bytes=options.max_bytes,
            ordered=ordered,
            after=after,
        )

    async def _known_to_be_settled(self, partition: int) -> int:
        """Return where to begin: at the beginning, or where this consumer was when the broker lost its place."""
        if self._parking is None or partition == SHARED:
            return 0
        position = await self._parking.position(self.name, self._stream, partition)
        holding = await self._broker.holding(self._stream) if position.settled_to else None
        same = holding is not None and holding.made_at == position.made_at and holding.last >= position.settled_to
        return position.settled_to if same else 0

    async def _note_positions(self) -> None:
        """Note in the database where the partitions are, for when the broker loses that."""
        assert self._parking is not None
        holding = await self._broker.holding(self._stream)
        positions = {}
        for partition, keys in tuple(self._workers.parked.items()):
            place = await self._broker.place(self._stream, self._place(partition))
            if holding is not None and place is not None:
                positions[keys.tenure] = Position(place.settled_to, holding.made_at)
        await self._parking.note(positions)

    async def _share(self) -> float:
        """Keep to a fair share of the partitions, and read those that are held."""
        if self._shared and SHARED not in self._readers:
            await self._begin(SHARED)
        if not self._ordered:
            return self._options.lease
        before, taken = self.partitions, frozenset[int]()
        try:
            taken = await self._leases.share()
        except MessagingError as error:
            self._away(error)
        held = self._leases.held
        kept = {partition for partition in before & held - taken if self._workers.owns(partition)}
        await asyncio.gather(*(self._abandon(partition) for partition in before - kept))
        for partition in self._leases.surplus:
            if partition not in self._leaving:
                self._leaving[partition] = asyncio.create_task(self._hand_over(partition))
        for partition in sorted(held - self.partitions - self._leaving.keys()):
            try:
                await self._begin(partition)
            except StoreError as error:  # the others need not wait for it
                _logger.warning("subscriber %s can't begin with partition %d yet: %s", self.name, partition, error)
        now = self.partitions
        if now != before:
            self._observe(PartitionsChanged(held=len(now), taken=len(now - before), lost=len(before - now)))
        even = len(now) >= PARTITIONS // self._leases.members
        return self._options.lease / _RENEWALS if even else min(_UNBALANCED, self._options.lease / _RENEWALS)

    async def _begin(self, partition: int) -> None:
        """Become a partition's owner, and read it."""
        if partition != SHARED and self._parking is not None:
            tenure, keys = await self._parking.begin(self.name, self._stream, partition)
            self._workers.own(partition, ParkedKeys(tenure, keys, self._workers.due, self._clock))
        reader = _Reader(self, partition)
        self._readers[partition] = reader
        await reader.start()

    async def _abandon(self, partition: int) -> None:
        """Leave a partition that another process may have by now."""
        if (leaving := self._leaving.pop(partition, None)) is not None:
            leaving.cancel()
            await asyncio.wait((leaving,))
        if partition in self._readers:
            await self._readers[partition].stop()
            self._workers.disown(partition)
            await self._close(partition)

    async def _hand_over(self, partition: int) -> None:
        """Give a partition back when what is being handled of it has ended; until then it is held."""
        try:
            if partition in self._readers:
                await self._readers[partition].stop()
                self._workers.drop(lambda lane: lane[0] == partition)
                await self._workers.idle(lambda lane: lane[0] == partition, self._grace)
                self._workers.disown(partition)
                await self._close(partition)
            with suppress(MessagingError):  # then it ends by itself
                await self._leases.let_go([partition])
        finally:
            self._leaving.pop(partition, None)

    async def _close(self, partition: int) -> None:
        await self._readers.pop(partition).close()

    async def _redrive(self) -> float:
        """Take in dead letters that are sent again."""
        try:
            if self._redriven is None:
                await self._broker.ensure_stream(REDRIVE_STREAM, REDRIVE_SUBJECTS)
                self._redriven = await self._broker.consume(
                    REDRIVE_STREAM,
                    f"{self.name}-{self._stream}",
                    [redrive_filter(self.name, self._stream)],
                    ack_wait=self._options.ack_wait,
                    max_in_flight=self._options.max_in_flight,
                )
            for delivery in await self._redriven.fetch(self._options.max_in_flight, self._options.fetch_wait):
                await self._workers.take_again(Redriven(delivery, self._broker))
        except MessagingError as error:
            self._away(error)
            return _AWAY
        return 0.0

    async def _recount(self, keys: ParkedKeys) -> None:
        """Count the parked events of a partition that has too many of them: some came twice, or were dropped."""
        assert self._parking is not None
        counts = await self._parking.counts(self.name, self._stream)
        keys.events = counts[keys.tenure.partition].events if keys.tenure.partition in counts else 0

    async def _poll(self) -> float:
        """Look for parked events that other processes have made due, and note now and then where everything is."""
        assert self._parking is not None
        if self._clock.monotonic() >= self._note_at:
            self._note_at = self._clock.monotonic() + _NOTE_EVERY
            with suppress(MessagingError):  # next time
                await self._note_positions()
        owned = [partition for partition in self._workers.parked if partition in self._readers]
        if owned:
            for partition, key in await self._parking.due(self.name, self._stream, owned, 100):
                self._workers.due(partition, key)
        return self._options.poll


class _Reader:
    """Reads one partition, or the events without an order, as fast as they are handled."""

    def __init__(self, subscriber: Subscriber, partition: int) -> None:
        self._subscriber = subscriber
        self._partition = partition
        self._consumer: Consumer | None = None
        self._sure = False
        self._loop = Loop(f"subscriber {subscriber.name}, partition {partition}", self._step, grace=0.0)

    async def start(self) -> None:
        await self._loop.start()

    async def stop(self) -> None:
        """Read no more. What was handed out can still be settled."""
        await self._loop.stop()

    async def close(self) -> None:
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            with suppress(MessagingError):  # then the broker hands out again what it did not hear of
                await consumer.close()

    async def _step(self) -> float:
        subscriber, partition = self._subscriber, self._partition
        options, workers = subscriber._options, subscriber._workers
        keys = workers.parked.get(partition)
        if keys is not None and keys.events >= options.max_parked:
            await subscriber._recount(keys)
            return options.fetch_wait / 4
        sure, self._sure = self._sure, False  # after a failure, look for the stream again
        try:
            if not sure:
                await subscriber._ensure_stream()
            if self._consumer is None:
                self._consumer = await subscriber._consume(partition)
            deliveries = await self._consumer.fetch(options.max_in_flight, options.fetch_wait)
        except MessagingError as error:
            subscriber._away(error)
            return _AWAY
        self._sure = True
        for delivery in deliveries:
            await workers.take_in(delivery, partition)
        return 0.0


def _filter(spec: EventSpec[Any], partition: int) -> str:
    """Return the subjects of an event in a partition's place."""
    return spec.consumer_filter if partition == SHARED else spec.subject_in(partition)


def _check_replay(name: str, inbox: Inbox | None, under: str | None, shadow: object) -> None:
    if under is None:
        return
    if shadow is not None:
        raise ConfigurationError("a shadow handler has no inbox, so give either a shadow or another name")
    if not _NAME(under) or under == name:
        raise ConfigurationError(f"{under!r} is no other name for {name}; use letters, digits, - and _")
    if inbox is None:
        raise ConfigurationError(f"subscriber {name} has no inbox to remember under {under} what was handled")


def _only_stream(name: str, inbound: Inbound) -> tuple[str, str]:
    streams = {(spec.stream, spec.stream_subjects) for spec in inbound.specs}
    if len(streams) != 1:
        named = ", ".join(sorted(stream for stream, _ in streams)) or "none"
        raise ConfigurationError(
            f"subscriber {name} needs routes of exactly one stream and has {named}; make one subscriber a stream"
        )
    return streams.pop()


def _check(name: str, routes: Iterable[EventRoute[Any]], inbox: Inbox | None, parking: Parking | None) -> None:
    for route in routes:
        if route.applies and inbox is None:
            raise ConfigurationError(
                f"subscriber {name}: the handler of {route.spec.full_name} applies its event in the inbox's "
                "transaction; give the subscriber an inbox=Inbox(database)"
            )
        if route.options.hold_key and route.spec.unordered:
            raise ConfigurationError(
                f"subscriber {name}: {route.spec.full_name} has no order that a dead letter could hold up; leave out "
                "hold_key"
            )
        if route.options.hold_key and parking is None:
            raise ConfigurationError(
                f"subscriber {name}: later events of a key are to wait behind a dead letter of {route.spec.full_name}, "
                "and need a place for that; give the subscriber an inbox=Inbox(database) or parking=Parking(database)"
            )
