"""Options of how consumers handle an event."""

from dataclasses import dataclass
from enum import Enum

from carrick.options._checks import require, require_time

__all__ = ["HandlingOptions", "UnknownType"]


class UnknownType(Enum):
    """What becomes of a message on an event's subject whose type a consumer does not know."""

    DEAD_LETTER = "dead letter"
    SKIP = "skip"


@dataclass(frozen=True, slots=True, kw_only=True)
class HandlingOptions:
    """Try again with exponential backoff and jitter, then put aside."""

    max_attempts: int = 10
    """Failures of the handler before the event goes to the dead letters. Outages of others do not count."""
    timeout: float = 30.0
    """Seconds for one attempt; the handler is cancelled then, and its calls inherit the deadline."""
    initial_backoff: float = 0.1
    """Upper bound of the wait before the second attempt, in seconds; it doubles with each attempt."""
    max_backoff: float = 30.0
    """Upper bound of any wait, in seconds."""
    hold_key: bool = False
    """Whether later events of the key wait behind a dead letter until it is sent again or dropped."""
    unknown_type: UnknownType = UnknownType.DEAD_LETTER

    def __post_init__(self) -> None:
        require(1 <= self.max_attempts <= 1000, f"max_attempts must be 1 to 1000, not {self.max_attempts}")
        for name in ("timeout", "initial_backoff", "max_backoff"):
            require_time(name, getattr(self, name))
        require(
            self.max_backoff >= self.initial_backoff,
            f"max_backoff ({self.max_backoff}) must not be below initial_backoff ({self.initial_backoff})",
        )

    def backoff(self, attempt: int, uniform: float) -> float:
        """Return the wait after an attempt, the first being 1: half to all of its bound, by ``uniform`` in [0, 1)."""
        bound = min(self.max_backoff, self.initial_backoff * 2.0 ** min(attempt - 1, 30))
        return bound * (0.5 + uniform / 2)
