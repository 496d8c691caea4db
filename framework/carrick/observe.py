"""What policies and loops tell about themselves: frozen facts, handed to an injected callback."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import TypeAlias

__all__ = [
    "BreakerClosed",
    "BreakerHalfOpened",
    "BreakerOpened",
    "CallShed",
    "CallThrottled",
    "EventDeadLettered",
    "EventDropped",
    "EventExpired",
    "EventHandlingFailed",
    "EventOverflowed",
    "EventQuarantined",
    "EventTooLate",
    "EventsPublished",
    "FallbackUsed",
    "HedgeSent",
    "LimitReached",
    "Observation",
    "Observer",
    "PartitionsChanged",
    "PublishFailed",
    "RateLimited",
    "RequestRefused",
    "ResourceDegraded",
    "ResourceRecovered",
    "RetryNotMade",
    "RetryScheduled",
    "StreamBehind",
    "ignore",
    "log",
    "notify_all",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """Something that happened. Subclasses say what."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryScheduled(Observation):
    """An attempt failed; the next one starts in ``delay`` seconds."""

    method: str
    attempt: int
    code: str
    delay: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryNotMade(Observation):
    """A failed attempt was not followed by another, or a late one by a hedge (``kind``), for a reason."""

    method: str
    attempt: int
    kind: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HedgeSent(Observation):
    """An answer was late by ``delay`` seconds, so another attempt was begun beside the first."""

    method: str
    attempt: int
    delay: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CallThrottled(Observation):
    """A call was not sent: the service accepted ``accepts`` of the last ``requests``."""

    method: str
    requests: int
    accepts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FallbackUsed(Observation):
    """A failed call was answered with a substitute: ``last_good``, ``value``, ``function`` or ``stale``."""

    method: str
    code: str
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CallShed(Observation):
    """A server turned a call away.

    For ``limit``, ``queue``, ``queue_time``, ``loop_lag``, ``backlog_depth`` or ``backlog_age``.
    """

    method: str
    priority: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimited(Observation):
    """A server refused a call that came too soon after others of the same method, caller or tenant."""

    method: str
    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitReached(Observation):
    """A call was not sent: ``limit`` calls to the endpoint are under way, and no more may wait."""

    method: str
    endpoint: str
    limit: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerOpened(Observation):
    """Calls of this method to this endpoint are refused from now on.

    For ``failures``, ``slow``, a ``trial``, or by hand: ``manual``, or ``isolated``, which lasts until it is closed.
    """

    method: str
    endpoint: str
    reason: str = "failures"
    failures: int
    slow: int
    calls: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerHalfOpened(Observation):
    """Trial calls are let through."""

    method: str
    endpoint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerClosed(Observation):
    """Calls flow again."""

    method: str
    endpoint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceDegraded(Observation):
    """What needs this database, broker or other resource is refused from now on; why, as for ``BreakerOpened``."""

    resource: str
    operation: str
    reason: str
    failures: int
    slow: int
    calls: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceRecovered(Observation):
    """A resource is used again as before, ``after`` seconds."""

    resource: str
    after: float


@dataclass(frozen=True, slots=True, kw_only=True)
class EventsPublished(Observation):
    """The broker acknowledged this many outbox rows, and they were marked."""

    count: int
    ages: tuple[float, ...] = field(default=(), repr=False)
    """Of each, seconds from its writing (or from when it was due) until it was marked, by the database's clock."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishFailed(Observation):
    """The broker did not acknowledge; the relay tries again in ``delay`` seconds."""

    reason: str
    delay: float


@dataclass(frozen=True, slots=True, kw_only=True)
class EventHandlingFailed(Observation):
    """A handler raised; the event is handed to it again in ``delay`` seconds."""

    consumer: str
    event_type: str
    event_id: str
    attempt: int
    reason: str
    delay: float


@dataclass(frozen=True, slots=True, kw_only=True)
class EventDeadLettered(Observation):
    """A message was put into the dead-letter stream."""

    consumer: str
    subject: str
    sequence: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EventDropped(Observation):
    """An event that is delivered at most once could not be handled, and is gone."""

    subject: str
    event_type: str
    event_id: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EventOverflowed(Observation):
    """An event that is delivered at most once found no room, since its handler is too slow, and is gone."""

    subject: str
    event_type: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestRefused(Observation):
    """A request over the broker was not handled.

    For ``queue``: it found no room; ``expired``: its asker waited no longer; ``no_reply``: nobody asked for an answer.
    """

    subject: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EventQuarantined(Observation):
    """The broker refused an event for good. It is put aside, and later ones of its key wait for what becomes of it."""

    event_id: str
    subject: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EventExpired(Observation):
    """An event was not published before its time was over, and never is."""

    event_id: str
    subject: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EventTooLate(Observation):
    """An event's time was over before a consumer came to handle it; it is settled without."""

    consumer: str
    event_type: str
    event_id: str
    subject: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamBehind(Observation):
    """A stream lacks messages that were acknowledged, or they were removed: ``carrick outbox reconcile`` compares."""

    stream: str
    subject: str
    known: int
    last: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionsChanged(Observation):
    """A relay or a consumer holds other partitions: it took some, gave some back, or was too late to keep them."""

    held: int
    taken: int
    lost: int


Observer: TypeAlias = Callable[[Observation], None]
"""Takes observations, on the event loop, between two awaits: it must be quick and must not raise."""

_LEVELS: dict[type[Observation], int] = {
    CallShed: logging.DEBUG,  # one a call, in overload: too many to be lines, unless asked for
    CallThrottled: logging.DEBUG,
    EventOverflowed: logging.DEBUG,  # one an event: a line now and then says how many
    EventsPublished: logging.DEBUG,
    FallbackUsed: logging.INFO,
    HedgeSent: logging.DEBUG,
    LimitReached: logging.DEBUG,
    PartitionsChanged: logging.INFO,
    RateLimited: logging.DEBUG,
    RequestRefused: logging.DEBUG,
    RetryNotMade: logging.DEBUG,
    RetryScheduled: logging.INFO,
}
_logger = logging.getLogger("carrick")


def ignore(observation: Observation) -> None:
    """Take no notice."""


def log(observation: Observation) -> None:
    """Write the observation to the ``carrick`` logger: in words, and with its fields beside the message."""
    level = _LEVELS.get(type(observation), logging.WARNING)
    if _logger.isEnabledFor(level):
        name = type(observation).__name__
        told = {each.name: getattr(observation, each.name) for each in fields(observation) if each.repr}
        words = ", ".join(
            f"{word} {value:.3g}" if isinstance(value, float) else f"{word} {value}" for word, value in told.items()
        )
        _logger.log(level, "%s: %s", name, words, extra={"observation": {"name": name, **told}})


def notify_all(*observers: Observer) -> Observer:
    """Make one observer of several, called in this order."""

    def observe(observation: Observation) -> None:
        for observer in observers:
            observer(observation)

    return observe
