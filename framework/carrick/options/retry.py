"""Options of retries, of the budget that bounds them, and of hedges, which draw on the same budget."""

import math
from dataclasses import dataclass

from carrick.errors import Code
from carrick.options._checks import Part, require, require_codes, require_time

__all__ = ["HedgeOptions", "RetryBudgetOptions", "RetryOptions"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryOptions(Part):
    """Try again: exponential backoff with full jitter (gRPC proposal A6; AWS, "Exponential Backoff And Jitter")."""

    max_attempts: int = 4
    """Tries in all, the first one included, hedges not. 1 turns retries off."""
    initial_backoff: float = 0.05
    """Upper bound of the wait before the second attempt, in seconds."""
    max_backoff: float = 1.0
    """Upper bound of any wait, in seconds."""
    multiplier: float = 2.0
    """What the upper bound grows by with each attempt."""
    codes: frozenset[Code] = frozenset({Code.UNAVAILABLE, Code.ABORTED})
    """Statuses after which the call may be tried again."""
    replay_bytes: int = 256 * 1024
    """How much of a stream of requests is kept, to be sent again. A longer one is not tried again."""

    def __post_init__(self) -> None:
        require(self.replay_bytes >= 0, f"replay_bytes must be 0 or more, not {self.replay_bytes}")
        require(
            1 <= self.max_attempts <= 100,
            f"max_attempts must be 1 to 100, not {self.max_attempts}; 1 turns retries off",
        )
        require_time("initial_backoff", self.initial_backoff)
        require_time("max_backoff", self.max_backoff)
        require(
            self.max_backoff >= self.initial_backoff,
            f"max_backoff ({self.max_backoff}) must not be below initial_backoff ({self.initial_backoff})",
        )
        require(self.multiplier >= 1, f"multiplier must be 1 or more, not {self.multiplier}")
        require_codes(self.codes)

    def __bool__(self) -> bool:
        return self.enabled and self.max_attempts > 1


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryBudgetOptions(Part):
    """Bound retries and hedges by the calls that were made (Finagle's RetryBudget).

    There whenever a method has retries or hedges. One budget serves all methods of a service on a channel; the method
    bound first decides its options.
    """

    ratio: float = 0.2
    """Retries and hedges that each call pays for."""
    per_second: float = 10.0
    """Retries and hedges a second that need no calls to pay for them."""
    window: float = 10.0
    """How far back calls and retries are counted, in seconds."""

    def __post_init__(self) -> None:
        require(
            math.isfinite(self.ratio) and self.ratio >= 0,
            f"ratio must be 0 or more, not {self.ratio}; 0.2 means one retry for five calls",
        )
        require(
            math.isfinite(self.per_second) and self.per_second >= 0,
            f"per_second must be 0 or more, not {self.per_second}",
        )
        require_time("window", self.window)


@dataclass(frozen=True, slots=True, kw_only=True)
class HedgeOptions(Part):
    """Send a call once more when its answer is late, and take the first answer (Dean and Barroso, "The Tail at Scale").

    Only for methods that are idempotent or keyed.
    """

    delay: float | None = None
    """When an answer is late, in seconds; None: later than ``quantile`` of the latest answers."""
    quantile: float = 0.95
    """Share of answers that come in time: 0.95 makes one call in twenty late."""
    window: float = 30.0
    """How far back answers are looked at for the quantile, in seconds."""
    min_calls: int = 50
    """Without that many answers in the window nothing is late."""
    max_hedges: int = 1
    """How often a call is sent beside its first try; each one a delay after the one before."""

    def __post_init__(self) -> None:
        if self.delay is not None:
            require_time("delay", self.delay)
        require(0 < self.quantile < 1, f"quantile must be between 0 and 1, not {self.quantile}; 0.95 is usual")
        require_time("window", self.window)
        require(self.min_calls >= 1, f"min_calls must be 1 or more, not {self.min_calls}")
        require(1 <= self.max_hedges <= 10, f"max_hedges must be 1 to 10, not {self.max_hedges}")
