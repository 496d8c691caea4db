"""Consuming: each event handed to its handler, in order, until its effect is committed or it is put aside.

A consumer handles one event at a time. A failed event is tried again in its place, so that nothing overtakes it; what
cannot be parsed, and what failed too often for reasons of its own, goes to the dead letters and makes way. A failure
because something else is away is no fault of the event and burns no attempt.
"""

import asyncio
import logging
import random
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Self

from google.protobuf.message import Message as ProtoMessage

from carrick.cancellation import cancelled
from carrick.claim import Receipt
from carrick.clock import Clock, SystemClock
from carrick.context import Call, Context, enter
from carrick.errors import CarrickError, Code, ConfigurationError, DuplicateEventError, MessagingError
from carrick.ids import random_id
from carrick.instruments import Instruments
from carrick.loop import Loop
from carrick.messaging.cloudevents import Envelope, decode, read
from carrick.messaging.contract import Broker, Consumer, Delivery
from carrick.messaging.deadletter import DeadLetters
from carrick.observe import EventDeadLettered, EventHandlingFailed, Observer, log
from carrick.route import EventRoute
from carrick.service import Service
from carrick.stacks import event_stack
from carrick.store.inbox import Inbox

__all__ = ["Subscriber", "SubscriberOptions"]

_OUTAGES = frozenset({Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED, Code.RESOURCE_EXHAUSTED, Code.ABORTED})
_CALLS_END = 0.95
"""Share of the timeout after which calls end: a peer that hangs is then seen as the outage that it is."""
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}").fullmatch
_logger = logging.getLogger("carrick.subscriber")


@dataclass(frozen=True, slots=True, kw_only=True)
class SubscriberOptions:
    """How events are handled. Times are seconds."""

    max_attempts: int = 10
    """Failures of the handler before the event goes to the dead letters. Outages of others do not count."""
    timeout: float = 30.0
    """For one attempt; the handler is cancelled then, and its calls inherit the deadline."""
    initial_backoff: float = 0.1
    max_backoff: float = 10.0
    ack_wait: float = 10.0
    """After a consumer's death its event goes to another this much later. Renewed while a handler runs."""
    fetch_wait: float = 2.0

    def __post_init__(self) -> None:
        for name in ("timeout", "initial_backoff", "max_backoff", "ack_wait", "fetch_wait"):
            if not getattr(self, name) > 0:
                raise ConfigurationError(f"{name} must be above 0 seconds, not {getattr(self, name)}")
        if self.max_attempts < 1:
            raise ConfigurationError(f"max_attempts must be 1 or more, not {self.max_attempts}")


class _UnrecordedError(Exception):
    """A handler with an inbox returned without ``tx.handled()``."""


@dataclass(frozen=True, slots=True)
class _Parsed:
    """A delivery that can be handled."""

    event: ProtoMessage
    envelope: Envelope
    route: EventRoute[Any]


class Subscriber:
    """Consumes the events of ``routes`` as the durable consumer ``name``. Starts and stops as a context manager.

    All routes belong to events of one stream: use one subscriber a stream. With an ``inbox`` each handler ends its
    transaction with ``await tx.handled()``, and an event delivered again has no second effect; without one, delivery
    is at least once. Several processes may share a name; they take turns.

    Stopping lets the handler under way finish, up to ``grace`` seconds. An event that waits for its next attempt is
    handed back.
    """

    def __init__(
        self,
        name: str,
        broker: Broker,
        routes: Iterable[EventRoute[Any]],
        *,
        inbox: Inbox | None,
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
        self._broker = broker
        self._routes = {route.spec.full_name: route for route in routes}
        self._inbox = inbox
        self._options = options or SubscriberOptions()
        self._clock = clock or SystemClock()
        self._observe = observe
        self._dead_letters = DeadLetters(broker)
        self._services: dict[str, Service] = {
            full_name: event_stack(route.handler, route.spec, name, instruments=instruments)
            for full_name, route in self._routes.items()
        }
        self._stream, self._stream_subjects = _only_stream(name, self._routes.values())
        self._consumer: Consumer | None = None
        self._binding = asyncio.Lock()
        self._loop = Loop(f"subscriber {name}", self._step, grace=grace)
        self.processed = 0
        """Deliveries settled so far: handled, found to be handled before, or put aside."""

    async def pending(self) -> int:
        """Count the events that are not settled yet."""
        return await (await self._bound()).pending()

    async def start(self) -> None:
        """Begin to consume."""
        await self._loop.start()

    async def stop(self) -> None:
        """Stop as the class says."""
        await self._loop.stop()
        await self._unbind()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.stop()

    async def _bound(self) -> Consumer:
        async with self._binding:  # the loop and who asks what is pending may both come first
            if self._consumer is None:
                await self._broker.ensure_stream(self._stream, [self._stream_subjects])
                self._consumer = await self._broker.consume(
                    self._stream,
                    self.name,
                    [route.spec.consumer_filter for route in self._routes.values()],
                    ack_wait=self._options.ack_wait,
                    max_in_flight=1,
                )
            return self._consumer

    async def _unbind(self) -> None:
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await consumer.close()

    async def _step(self) -> float:
        consumer = await self._bound()
        try:
            deliveries = await consumer.fetch(1, self._options.fetch_wait)
        except MessagingError:
            await self._unbind()  # stream or consumer may be gone: look again
            raise
        for delivery in deliveries:
            heartbeat = asyncio.create_task(self._keep(delivery))
            try:
                await self._settle(delivery)
            finally:
                heartbeat.cancel()
        return 0.0

    async def _keep(self, delivery: Delivery) -> None:
        """Tell the broker, three times in each ``ack_wait``, that the delivery is being worked on."""
        while True:
            await self._clock.sleep(self._options.ack_wait / 3)
            try:
                await delivery.in_progress()
            except MessagingError as error:
                _logger.warning("%s: could not renew a delivery: %s", self.name, error)

    async def _settle(self, delivery: Delivery) -> None:
        try:
            parsed = self._parse(delivery)
        except ValueError as error:
            return await self._put_aside(delivery, str(error))
        with enter(Context(None, correlation_id=parsed.envelope.correlation_id, key=parsed.envelope.id)):
            await self._settle_parsed(parsed, delivery)
        return None

    async def _settle_parsed(self, parsed: _Parsed, delivery: Delivery) -> None:
        """Hand the event to its handler until it is settled one way or another, or a stop hands it back."""
        failures = 0
        attempt = 0
        while True:
            attempt += 1
            try:
                await self._handle(parsed, delivery)
            except _UnrecordedError as error:  # its effect is committed: trying again would only repeat it
                return await self._put_aside(delivery, str(error))
            except (Exception, asyncio.CancelledError) as error:  # whatever a handler raises is tried again
                if cancelled(error):
                    raise
                failures += not _is_outage(error)
                self._log_bug(parsed, error)
                if failures >= self._options.max_attempts:
                    return await self._put_aside(delivery, f"failed {failures} times, at last with {_reason(error)}")
                await self._wait(parsed, attempt, error)
            else:
                break
            if self._loop.stopping:
                return await delivery.nak()
        await delivery.ack()
        self.processed += 1
        return None

    async def _handle(self, parsed: _Parsed, delivery: Delivery) -> None:
        envelope = parsed.envelope
        if self._inbox is not None and await self._inbox.holds(self.name, envelope.id):
            return
        call = Call()
        call.scope = self.name
        call.receipt = Receipt(self.name, envelope.id) if self._inbox is not None else None
        ctx = Context(
            None,
            correlation_id=envelope.correlation_id,
            causation_id=envelope.causation_id,
            deadline=self._clock.monotonic() + _CALLS_END * self._options.timeout,
            key=envelope.id,
            metadata=tuple((name.lower(), value) for name, value in delivery.headers.items()),
            trace=envelope.trace,
            call=call,
        )
        with enter(ctx):
            try:
                async with asyncio.timeout(self._options.timeout):
                    await self._services[parsed.route.spec.full_name](parsed.event, ctx)
            except DuplicateEventError:
                return
        if call.receipt is not None and not call.receipt.fulfilled:
            raise _UnrecordedError(
                f"the handler of {parsed.route.spec.full_name} returned without recording the event; what it committed "
                "stays; call `await tx.handled()` in its transaction, or subscribe with inbox=None"
            )

    def _log_bug(self, parsed: _Parsed, error: BaseException) -> None:
        """Log what is no error of the framework with its traceback."""
        if not isinstance(error, CarrickError | TimeoutError):
            _logger.error("%s: the handler of %s failed", self.name, parsed.route.spec.full_name, exc_info=error)

    async def _wait(self, parsed: _Parsed, attempt: int, error: BaseException) -> None:
        options = self._options
        bound = min(options.max_backoff, options.initial_backoff * 2.0 ** min(attempt - 1, 30))
        delay = bound * (0.5 + random.random() / 2)
        self._observe(
            EventHandlingFailed(
                consumer=self.name,
                event_type=parsed.route.spec.full_name,
                event_id=parsed.envelope.id,
                attempt=attempt,
                reason=_reason(error),
                delay=delay,
            )
        )
        await self._loop.rest(delay)

    async def _put_aside(self, delivery: Delivery, reason: str) -> None:
        await self._dead_letters.put(self.name, delivery, reason)
        await delivery.ack()
        self.processed += 1
        self._observe(
            EventDeadLettered(consumer=self.name, subject=delivery.subject, sequence=delivery.sequence, reason=reason)
        )

    def _parse(self, delivery: Delivery) -> _Parsed:
        """Raise ``ValueError`` with the reason when the delivery can't be handled, now or ever."""
        envelope = read(delivery.headers, fallback_id=f"{delivery.stream}:{delivery.sequence}")
        if envelope.correlation_id is None:
            envelope = replace(envelope, correlation_id=random_id())
        full_name = envelope.type or self._type_of(delivery.subject)
        route = self._routes.get(full_name or "")
        if route is None:
            raise ValueError(f"{self.name} handles no events of type {full_name!r}")
        return _Parsed(decode(route.spec, envelope, delivery.data), envelope, route)

    def _type_of(self, subject: str) -> str | None:
        """Return the event type of a message without ``ce-type``, by its subject."""
        contract_subject = subject.rpartition(".")[0]
        for full_name, route in self._routes.items():
            if route.spec.subject == contract_subject:
                return full_name
        return None


def _only_stream(name: str, routes: Iterable[EventRoute[Any]]) -> tuple[str, str]:
    streams = {(route.spec.stream, route.spec.stream_subjects) for route in routes}
    if len(streams) != 1:
        named = ", ".join(sorted(stream for stream, _ in streams)) or "none"
        raise ConfigurationError(
            f"subscriber {name} needs routes of exactly one stream and has {named}; make one subscriber a stream"
        )
    return streams.pop()


def _is_outage(error: BaseException) -> bool:
    return isinstance(error, CarrickError) and error.code in _OUTAGES


def _reason(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"
