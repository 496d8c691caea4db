"""OpenTelemetry metrics of consumers: those of the conventions for messaging, and what only Carrick knows.

https://opentelemetry.io/docs/specs/semconv/messaging/messaging-metrics/

What subscribers count in plain numbers anyway is read when metrics are collected. Only histograms are told at once, as
for the outbox: two for each event, some microseconds.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation
from opentelemetry.util.types import Attributes

from carrick.clock import Clock, SystemClock
from carrick.errors import CarrickError
from carrick.event import EventSpec
from carrick.messaging.handling import Work
from carrick.messaging.subscriber import Subscriber

__all__ = ["ConsumerMetrics"]

_NAME = "carrick.consumer"
_DURATIONS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)  # as the conventions say
_LAGS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200)


class ConsumerMetrics:
    """Instruments of all subscribers of a process."""

    def __init__(self, provider: MeterProvider, *, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._subscribers: list[Subscriber] = []
        self._known: dict[tuple[str, str], Attributes] = {}
        meter = provider.get_meter(_NAME)
        gauge, counter, of = meter.create_observable_gauge, meter.create_observable_counter, self._of
        counter("messaging.client.consumed.messages", [self._consumed], "{message}", "Messages that came")
        counter(f"{_NAME}.handled", [of(lambda each: each.counts.handled)], "{event}", "Events that had their effects")
        counter(f"{_NAME}.failures", [of(lambda each: each.counts.failures)], "{try}", "Tries that failed")
        counter(f"{_NAME}.redelivered", [of(lambda each: each.counts.redelivered)], "{message}", "Messages come again")
        counter(f"{_NAME}.dead_letters", [of(lambda each: each.counts.dead_letters)], "{event}", "Events put aside")
        counter(f"{_NAME}.skipped", [of(lambda each: each.counts.skipped)], "{event}", "Events of unknown types")
        counter(f"{_NAME}.expired", [of(lambda each: each.counts.expired)], "{event}", "Events that were too late")
        gauge(f"{_NAME}.in_flight", [of(lambda each: each.in_flight)], "{event}", "Events here that are not settled")
        gauge(
            f"{_NAME}.parked.events", [of(lambda each: each.parked[0])], "{event}", "Events that wait in the database"
        )
        gauge(f"{_NAME}.parked.keys", [of(lambda each: each.parked[1])], "{key}", "Keys whose events wait there")
        gauge(f"{_NAME}.partitions", [of(lambda each: len(each.partitions))], "{partition}", "Partitions held here")
        self._durations = meter.create_histogram(
            "messaging.process.duration",
            "s",
            "How long handlers take",
            explicit_bucket_boundaries_advisory=_DURATIONS,
        )
        self._lags = meter.create_histogram(
            f"{_NAME}.lag", "s", "From an event's writing to its effect", explicit_bucket_boundaries_advisory=_LAGS
        )

    def add(self, subscriber: Subscriber) -> None:
        """Tell of this one too."""
        self._subscribers.append(subscriber)
        subscriber.tell(self)

    def tried(self, consumer: str, spec: EventSpec[Any], seconds: float, error: BaseException | None) -> None:
        """Record how long a handler took."""
        attributes = self._attributes(consumer, spec.subject)
        if error is not None:
            attributes = {**(attributes or {}), "error.type": _kind(error)}
        self._durations.record(seconds, attributes)

    def committed(self, consumer: str, works: Sequence[Work]) -> None:
        """Record how old events were when they had their effects: by the clocks of who wrote them, and of this one."""
        now = self._clock.wall()
        for work in works:
            written = work.parsed.envelope.time
            if written is not None:
                attributes = self._attributes(consumer, work.parsed.route.spec.subject)
                self._lags.record(max(now - written, 0.0), attributes)

    def _attributes(self, consumer: str, subject: str) -> Attributes:
        found = self._known.get((consumer, subject))
        if found is None:
            found = self._known[consumer, subject] = {**_of_consumer(consumer), **_destination(subject, "process")}
        return found

    def _consumed(self, _: CallbackOptions) -> Iterator[Observation]:
        for each in self._subscribers:
            for subject, count in each.counts.delivered.items():
                yield Observation(count, {**_of_consumer(each.name), **_destination(subject, "receive")})

    def _of(self, number: Callable[[Subscriber], int]) -> Callable[[CallbackOptions], Iterable[Observation]]:
        return lambda _: [Observation(number(each), _of_consumer(each.name)) for each in self._subscribers]


def _of_consumer(name: str) -> dict[str, str]:
    return {"messaging.system": "nats", "messaging.consumer.group.name": name}


def _destination(subject: str, operation: str) -> dict[str, str]:
    return {"messaging.destination.name": subject, "messaging.operation.name": operation}


def _kind(error: BaseException) -> str:
    return error.code.name if isinstance(error, CarrickError) else type(error).__name__
