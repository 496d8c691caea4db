"""Options of answers that do not come from the peer: cached ones, substitutes, and recorded ones."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any

from carrick.errors import CarrickError, Code
from carrick.options._checks import Part, require, require_codes, require_time

__all__ = ["OUTAGES", "OVERLOAD", "CacheOptions", "FallbackOptions", "IdempotencyOptions", "KeyRule"]

OUTAGES = frozenset(
    {
        Code.UNKNOWN,
        Code.DEADLINE_EXCEEDED,
        Code.RESOURCE_EXHAUSTED,
        Code.INTERNAL,
        Code.UNAVAILABLE,
        Code.DATA_LOSS,
    }
)
"""Statuses that speak against the peer or the way to it. Any other is an answer."""

OVERLOAD = frozenset({Code.RESOURCE_EXHAUSTED, Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED})
"""Statuses that say a service did not accept a call.

It shed the call (``RESOURCE_EXHAUSTED``), it could not be reached or was turning callers away (``UNAVAILABLE``), or it
was too busy to answer in time (``DEADLINE_EXCEEDED``). Any other status took a handler's work to find out; even where
it speaks of a fault, like ``INTERNAL``, sending less does not mend it: that is a breaker's business.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheOptions(Part):
    """Answer a call with an earlier one's reply to the same request and metadata.

    Only for unary methods without side effects. Calls for the same thing at the same time share one attempt.
    """

    ttl: float = 0.0
    """How long a reply is answered with, in seconds; 0 only shares replies among calls at the same time."""
    max_bytes: int = 16 * 1024 * 1024
    """Room for the replies of the method; those not asked for the longest go first."""
    stale_if_error: float = 0.0
    """How long after ``ttl`` a reply may still stand in when the call fails, in seconds."""

    def __post_init__(self) -> None:
        require_time("ttl", self.ttl, zero=True)
        require(self.max_bytes >= 0, f"max_bytes must be 0 or more, not {self.max_bytes}")
        require_time("stale_if_error", self.stale_if_error, zero=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class FallbackOptions(Part):
    """Answer with something else when a call fails. What is tried first is ``last_good``, then the other one.

    A contract can ask for the last good reply; ``value`` and ``function`` are given in code, of the method's types.
    """

    value: Any = None
    """A reply; for a stream of responses, a sequence of them."""
    function: Callable[[Any, CarrickError], Any] | None = None
    """Takes the request and the error, gives a reply or an awaitable of one; for a stream, an asynchronous iterator."""
    last_good: float | None = None
    """How old the last good reply to the same request and metadata may be, in seconds. For unary methods."""
    max_bytes: int = 16 * 1024 * 1024
    """Room for the last good replies of the method."""
    codes: frozenset[Code] = OUTAGES
    """Statuses after which there is a substitute; others are the peer's answer."""

    def __post_init__(self) -> None:
        require(
            self.value is None or self.function is None,
            "a fallback has a value or a function, not both: leave one out",
        )
        if self.last_good is not None:
            require_time("last_good", self.last_good)
        require(
            not self.enabled or self.value is not None or self.function is not None or self.last_good is not None,
            "a fallback needs a value, a function or last_good; write for example last_good=60.0",
        )
        require(self.max_bytes >= 0, f"max_bytes must be 0 or more, not {self.max_bytes}")
        require_codes(self.codes)


class KeyRule(Enum):
    """Whether a call must carry an idempotency key. Generated clients always send one where a rule is given."""

    OPTIONAL = "optional"
    REQUIRED = "required"


@dataclass(frozen=True, slots=True, kw_only=True)
class IdempotencyOptions(Part):
    """A call that repeats a key is answered with the first call's reply instead of being executed again."""

    key: KeyRule
    expiry: float = 86_400.0
    """How long a reply is kept for replay, in seconds."""
    replayed_errors: frozenset[Code] = frozenset()
    """Statuses that are kept and repeated like a reply. After any other the key is free for another execution."""

    def __post_init__(self) -> None:
        require_time("expiry", self.expiry)
        require(Code.OK not in self.replayed_errors, "replayed_errors must not hold OK: replies are always kept")
