"""OpenTelemetry metrics of an outbox and its relay.

What is in the database is read from what an ``OutboxWatch`` saw last; what the relay tells is counted in plain numbers.
Only histograms are told at once, since OpenTelemetry has none that can be read later: that takes some microseconds for
each event, in a relay that has metrics.
"""

from collections import Counter
from collections.abc import Callable, Iterable

from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation

from carrick import observe
from carrick.outbox.watch import OutboxSnapshot, OutboxWatch

__all__ = ["OutboxMetrics"]

_MOST_REASONS = 20
_LONGEST_REASON = 80
_LAGS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200)
_BATCHES = (1, 2, 5, 10, 25, 50, 100, 250, 500, 1000)
_NAME = "carrick.outbox"


class OutboxMetrics:
    """Instruments of one outbox: give it to a relay as an observer, ``notify_all(log, metrics)``.

    Quarantined events are counted by reason: the end of what the broker said, for the first twenty reasons, ``other``
    for what comes after.
    """

    def __init__(self, provider: MeterProvider, watch: OutboxWatch) -> None:
        self._watch = watch
        self._published = self._expired = self._failed = self._held = 0
        self._refused = Counter[str]()
        meter = provider.get_meter(_NAME)
        gauge, counter = meter.create_observable_gauge, meter.create_observable_counter
        seen, told = self._seen, _told
        gauge(f"{_NAME}.depth", [seen(lambda now: now.depth)], "{event}", "Events to be published now")
        gauge(f"{_NAME}.oldest", [seen(lambda now: now.oldest_seconds)], "s", "For how long the oldest has waited")
        gauge(f"{_NAME}.quarantined", [seen(lambda now: now.quarantined)], "{event}", "Events the broker refused")
        gauge(f"{_NAME}.relays", [seen(lambda now: now.relays)], "{relay}", "Relays there")
        gauge(f"{_NAME}.lease.epoch", [self._epochs], "{change}", "How often a partition has changed hands")
        gauge(f"{_NAME}.lease.held", [told(lambda: self._held)], "{partition}", "Partitions held here")
        counter(f"{_NAME}.published", [told(lambda: self._published)], "{event}", "Events published here")
        counter(f"{_NAME}.expired", [told(lambda: self._expired)], "{event}", "Events that were too late")
        counter(f"{_NAME}.publish_failures", [told(lambda: self._failed)], "{try}", "Tries that failed")
        counter(f"{_NAME}.refused", [self._refusals], "{event}", "Events put into quarantine here, by reason")
        self._batches = meter.create_histogram(
            f"{_NAME}.batch", "{event}", "Events published at a time", explicit_bucket_boundaries_advisory=_BATCHES
        )
        self._lags = meter.create_histogram(
            f"{_NAME}.lag", "s", "From an event's writing to its publishing", explicit_bucket_boundaries_advisory=_LAGS
        )

    def __call__(self, observation: observe.Observation) -> None:
        """Count what a relay tells."""
        match observation:
            case observe.EventsPublished(count=count, ages=ages):
                self._published += count
                self._batches.record(count)
                for age in ages:
                    self._lags.record(age)
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

    def _seen(self, number: Callable[[OutboxSnapshot], float]) -> Callable[[CallbackOptions], Iterable[Observation]]:
        def read(_: CallbackOptions) -> Iterable[Observation]:
            now = self._watch.snapshot
            return [] if now is None else [Observation(number(now))]

        return read

    def _epochs(self, _: CallbackOptions) -> Iterable[Observation]:
        now = self._watch.snapshot
        return [Observation(epoch, {"partition": f"p{each:02d}"}) for each, epoch in now.epochs.items()] if now else []

    def _refusals(self, _: CallbackOptions) -> Iterable[Observation]:
        return [Observation(count, {"reason": reason}) for reason, count in self._refused.items()]

    def _short(self, reason: str) -> str:
        short = reason.rpartition(": ")[2][:_LONGEST_REASON]
        return short if short in self._refused or len(self._refused) < _MOST_REASONS else "other"


def _told(number: Callable[[], int]) -> Callable[[CallbackOptions], Iterable[Observation]]:
    return lambda _: [Observation(number())]
