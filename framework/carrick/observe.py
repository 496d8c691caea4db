"""What policies and loops tell about themselves: frozen facts, handed to an injected callback."""

import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TypeAlias

__all__ = [
    "BreakerClosed",
    "BreakerHalfOpened",
    "BreakerOpened",
    "EventDeadLettered",
    "EventHandlingFailed",
    "EventsPublished",
    "Observation",
    "Observer",
    "PublishFailed",
    "RetryScheduled",
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
class BreakerOpened(Observation):
    """Calls of this method to this endpoint are refused from now on."""

    method: str
    endpoint: str
    failures: int
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
class EventsPublished(Observation):
    """The broker acknowledged this many outbox rows, and they were marked."""

    count: int


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


Observer: TypeAlias = Callable[[Observation], None]
"""Takes observations, on the event loop, between two awaits: it must be quick and must not raise."""

_LEVELS: dict[type[Observation], int] = {EventsPublished: logging.DEBUG, RetryScheduled: logging.INFO}
_logger = logging.getLogger("carrick")


def ignore(observation: Observation) -> None:
    """Take no notice."""


def log(observation: Observation) -> None:
    """Write the observation to the ``carrick`` logger: in words, and with its fields beside the message."""
    level = _LEVELS.get(type(observation), logging.WARNING)
    if _logger.isEnabledFor(level):
        name, fields = type(observation).__name__, asdict(observation)
        words = ", ".join(
            f"{field} {value:.3g}" if isinstance(value, float) else f"{field} {value}"
            for field, value in fields.items()
        )
        _logger.log(level, "%s: %s", name, words, extra={"observation": {"name": name, **fields}})


def notify_all(*observers: Observer) -> Observer:
    """Make one observer of several, called in this order."""

    def observe(observation: Observation) -> None:
        for observer in observers:
            observer(observation)

    return observe
