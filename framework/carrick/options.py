"""The options of every policy, one dataclass each, checked when made.

A field of :class:`MethodPolicy` that is None means: not asked for, so not in the stack. All times are seconds.
"""

import math
from dataclasses import dataclass, field
from enum import Enum

from carrick.errors import Code, ConfigurationError

__all__ = ["BreakerOptions", "IdempotencyOptions", "KeyRule", "MethodPolicy", "RetryOptions"]


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ConfigurationError(message)


def _require_time(name: str, value: float) -> None:
    _require(
        math.isfinite(value) and value > 0,
        f"{name} must be a number of seconds above 0, not {value!r}; write for example {name}=0.5",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryOptions:
    """Try again: exponential backoff with full jitter (gRPC proposal A6; AWS, "Exponential Backoff And Jitter")."""

    max_attempts: int = 4
    """Tries in all, the first one included. 1 turns retries off."""
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
        _require(self.replay_bytes >= 0, f"replay_bytes must be 0 or more, not {self.replay_bytes}")
        _require(
            1 <= self.max_attempts <= 100,
            f"max_attempts must be 1 to 100, not {self.max_attempts}; 1 turns retries off",
        )
        _require_time("initial_backoff", self.initial_backoff)
        _require_time("max_backoff", self.max_backoff)
        _require(
            self.max_backoff >= self.initial_backoff,
            f"max_backoff ({self.max_backoff}) must not be below initial_backoff ({self.initial_backoff})",
        )
        _require(self.multiplier >= 1, f"multiplier must be 1 or more, not {self.multiplier}")
        _require(Code.OK not in self.codes, "codes must not hold OK: a success is not tried again")


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerOptions:
    """Stop calling an endpoint whose calls fail too often."""

    failure_ratio: float = 0.5
    """Opens when at least this share of the calls in the window failed."""
    window: float = 10.0
    """How far back calls are counted, in seconds."""
    min_calls: int = 20
    """Fewer calls than this in the window never open it."""
    open_for: float = 5.0
    """How long it stays open before trial calls are let through, in seconds."""
    trials: int = 3
    """Calls let through when half-open; all must succeed to close it, one failure opens it again."""

    def __post_init__(self) -> None:
        _require(
            0 < self.failure_ratio <= 1,
            f"failure_ratio must be above 0 and at most 1, not {self.failure_ratio}; 0.5 means half of the calls",
        )
        _require_time("window", self.window)
        _require(self.min_calls >= 1, f"min_calls must be 1 or more, not {self.min_calls}")
        _require_time("open_for", self.open_for)
        _require(self.trials >= 1, f"trials must be 1 or more, not {self.trials}")


class KeyRule(Enum):
    """Whether a call must carry an idempotency key. Generated clients always send one where a rule is given."""

    OPTIONAL = "optional"
    REQUIRED = "required"


@dataclass(frozen=True, slots=True, kw_only=True)
class IdempotencyOptions:
    """A call that repeats a key is answered with the first call's reply instead of being executed again."""

    key: KeyRule
    expiry: float = 86_400.0
    """How long a reply is kept for replay, in seconds."""

    def __post_init__(self) -> None:
        _require_time("expiry", self.expiry)


@dataclass(frozen=True, slots=True, kw_only=True)
class MethodPolicy:
    """What stands in front of one method, or of every method of a client."""

    timeout: float | None = None
    """Time for the whole call, all attempts included, in seconds."""
    retry: RetryOptions | None = field(default=None)
    breaker: BreakerOptions | None = field(default=None)
    idempotency: IdempotencyOptions | None = field(default=None)

    def __post_init__(self) -> None:
        if self.timeout is not None:
            _require_time("timeout", self.timeout)

    def overridden_by(self, other: "MethodPolicy | None") -> "MethodPolicy":
        """Return this policy with every part that ``other`` gives put in place of its own."""
        if other is None:
            return self
        return MethodPolicy(
            timeout=self.timeout if other.timeout is None else other.timeout,
            retry=other.retry or self.retry,
            breaker=other.breaker or self.breaker,
            idempotency=other.idempotency or self.idempotency,
        )
