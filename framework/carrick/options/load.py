"""Options of what bounds load: limits of calls under way, throttling, shedding, rates; and who goes first."""

import math
from dataclasses import dataclass
from enum import Enum

from carrick.options._checks import Part, require, require_time

__all__ = ["ConcurrencyOptions", "Priority", "RateKey", "RateLimitOptions", "SheddingOptions", "ThrottleOptions"]


class Priority(Enum):
    """Who goes first, and who is turned away first. It travels with a call through every hop.

    After "criticality" in Beyer et al., "Site Reliability Engineering", chapter 21.
    """

    CRITICAL = "critical"
    """Turned away last: somebody waits for it, or money is at stake."""
    DEFAULT = "default"
    SHEDDABLE = "sheddable"
    """Turned away first: it is repeated, or can do without an answer, like prefetching and batches."""


def _require_queue(limit: int, max_queued: int) -> None:
    require(limit >= 1, f"limit must be 1 or more, not {limit}")
    require(max_queued >= 0, f"max_queued must be 0 or more, not {max_queued}; 0 lets nothing wait")


@dataclass(frozen=True, slots=True, kw_only=True)
class ConcurrencyOptions(Part):
    """Bound the calls under way to an endpoint (a bulkhead), by a number or by what the endpoint bears."""

    limit: int = 100
    """Calls under way at once; where the limit is adaptive, what it begins with."""
    adaptive: bool = False
    """Whether the limit follows the endpoint's latency (Netflix, concurrency-limits: gradient)."""
    min_limit: int = 5
    """The least that an adaptive limit falls to."""
    max_limit: int = 1000
    """The most that an adaptive limit rises to."""
    max_queued: int = 0
    """Calls that wait for a place. A call whose deadline would pass meanwhile is refused at once."""

    def __post_init__(self) -> None:
        _require_queue(self.limit, self.max_queued)
        require(
            not self.adaptive or 1 <= self.min_limit <= self.limit <= self.max_limit,
            "an adaptive limit needs 1 <= min_limit <= limit <= max_limit, "
            f"not {self.min_limit}, {self.limit}, {self.max_limit}",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ThrottleOptions(Part):
    """Refuse calls to a service that refuses too many, before they are sent.

    A call is refused with the probability ``(requests - multiplier * accepts) / (requests + 1)`` of the window (Beyer
    et al., "Site Reliability Engineering", chapter 21, "Client-Side Throttling"), but at most 0.9.
    """

    multiplier: float = 2.0
    """How many requests are let through for each that is accepted. The lower, the sooner calls are refused."""
    window: float = 120.0
    """How far back calls are counted, in seconds."""

    def __post_init__(self) -> None:
        require(
            math.isfinite(self.multiplier) and self.multiplier >= 1,
            f"multiplier must be 1 or more, not {self.multiplier}; 2 is usual",
        )
        require_time("window", self.window)


@dataclass(frozen=True, slots=True, kw_only=True)
class SheddingOptions(Part):
    """Turn calls away that a server cannot answer in time, the least important first, while it still answers the rest.

    Sheddable calls get 70 % of ``limit``, default ones 90 %, critical ones all of it.
    """

    limit: int = 1000
    """Calls handled at once."""
    adaptive: bool = False
    """Whether the limit follows the handlers' latency; it then begins with ``limit`` and does not rise above it."""
    min_limit: int = 5
    """The least that an adaptive limit falls to."""
    max_queued: int = 0
    """Calls that wait for a place, the most important first."""
    max_queue_time: float = 0.1
    """How long a call waits for a place before it is turned away, in seconds."""
    max_loop_lag: float | None = None
    """Turns sheddable calls away when the event loop is late by this many seconds, default ones at twice as many."""

    def __post_init__(self) -> None:
        _require_queue(self.limit, self.max_queued)
        require(
            not self.adaptive or 1 <= self.min_limit <= self.limit,
            f"an adaptive limit needs 1 <= min_limit <= limit, not {self.min_limit}, {self.limit}",
        )
        require_time("max_queue_time", self.max_queue_time)
        if self.max_loop_lag is not None:
            require_time("max_loop_lag", self.max_loop_lag)


class RateKey(Enum):
    """What calls are counted together."""

    METHOD = "method"
    """All calls of the method."""
    CALLER = "caller"
    """Those of one caller, known by its network address."""
    TENANT = "tenant"
    """Those of one tenant, as the calls say; those that say none together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimitOptions(Part):
    """Bound the calls a second that a server accepts (a token bucket)."""

    per_second: float = 100.0
    """Calls a second in the long run."""
    burst: int = 100
    """Calls that may come at once after a quiet time."""
    by: RateKey = RateKey.METHOD
    """What is counted together."""
    max_keys: int = 10_000
    """Callers or tenants remembered; the one that has the least to wait for gives way to a new one."""

    def __post_init__(self) -> None:
        require(
            math.isfinite(self.per_second) and self.per_second > 0,
            f"per_second must be a number above 0, not {self.per_second}; 0.1 is one call in ten seconds",
        )
        require(self.burst >= 1, f"burst must be 1 or more, not {self.burst}")
        require(self.max_keys >= 1, f"max_keys must be 1 or more, not {self.max_keys}")
