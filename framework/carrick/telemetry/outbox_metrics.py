"""OpenTelemetry metrics of an outbox and its relay.

What is in the database is read from a snapshot that somebody else keeps fresh; what the relay tells is counted in plain
numbers. Only the size of a batch goes to OpenTelemetry at once: it has no histogram that can be read later.
"""

from collections import Counter
from collections.abc import Callable, Iterable

from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation

from carrick import observe
from carrick.outbox.watch import OutboxSnapshot

__all__ = ["OutboxMetrics"]

_MOST_REASONS = 20
_LONGEST_REASON = 80


class OutboxMetrics:
    """Instruments of one outbox: give it to a relay as an observer, ``notify_all(log, metrics)``.

    ``snapshot`` returns the newest snapshot or None, ``lambda: watch.snapshot``. Quarantined events are counted by
    reason: the end of what the broker said, for the first twenty reasons, ``other`` for what comes after.
    """

    def __init__(self, provider: MeterProvider, snapshot: Callable[[], OutboxSnapshot | None]) -> None:
        self._snapshot = snapshot
        self._published = self._expired = self._failed = self._held = 0
        self._refused = Counter[str]()
        meter = provider.get_meter("carrick.outbox")
        name = "carrick.outbox"
        seen = self._seen
        meter.create_observable_gauge(
            f"{name}.depth", [seen(lambda now: now.depth)], "{event}", "Events to be published now"
        )
        meter.create_observable_gauge(
            f"{name}.oldest", [seen(lambda now: now.oldest_seconds)], "s", "Since the oldest of them was written"
        )
        meter.create_observable_gauge(
            f"{name}.quarantined", [seen(lambda now: now.quarantined)], "{event}", "Events the broker refused"
        )
        meter.create_observable_gauge(
            f"{name}.lag", [seen(lambda now: now.lag_seconds)], "s", "From writing to publishing, over a minute"
        )
        meter.create_observable_gauge(f"{name}.relays", [seen(lambda now: now.relays)], "{relay}", "Relays there")
        meter.create_observable_counter(
            f"{name}.lease.epochs", [seen(lambda now: now.epochs)], "{change}", "Partitions that changed hands"
        )
        meter.create_observable_gauge(
            f"{name}.lease.held", [lambda _: [Observation(self._held)]], "{partition}", "Partitions held here"
        )
        meter.create_observable_counter(
            f"{name}.published", [lambda _: [Observation(self._published)]], "{event}", "Events published here"
        )
        meter.create_observable_counter(
            f"{name}.expired", [lambda _: [Observation(self._expired)]], "{event}", "Events that were too late"
        )
        meter.create_observable_counter(
            f"{name}.publish_failures", [lambda _: [Observation(self._failed)]], "{try}", "Tries that failed"
        )
        meter.create_observable_counter(
            f"{name}.refused", [self._refusals], "{event}", "Events put into quarantine here, by reason"
        )
        self._batches = meter.create_histogram(f"{name}.batch", "{event}", "Events published at a time")

    def __call__(self, observation: observe.Observation) -> None:
        """Count what a relay tells."""
        match observation:
            case observe.EventsPublished(count=count):
                self._published += count
                self._batches.record(count)
            case observe.EventQuarantined(reason=reason):
                self._refused[self._short(reason)] += 1
            case observe.EventExpired():
                self._expired += 1
            case observe.PublishFailed():
                self._failed += 1
            case observe.PartitionsChanged(held=held):
                self._held = held
            case _:
                pass

    def _seen(
        self, number: Callable[[OutboxSnapshot], float | None]
    ) -> Callable[[CallbackOptions], Iterable[Observation]]:
        def read(_: CallbackOptions) -> Iterable[Observation]:
            now = self._snapshot()
            value = None if now is None else number(now)
            return [] if value is None else [Observation(value)]

        return read

    def _refusals(self, _: CallbackOptions) -> Iterable[Observation]:
        return [Observation(count, {"reason": reason}) for reason, count in self._refused.items()]

    def _short(self, reason: str) -> str:
        short = reason.rpartition(": ")[2][:_LONGEST_REASON]
        return short if short in self._refused or len(self._refused) < _MOST_REASONS else "other"
