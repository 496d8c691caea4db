"""What policies are made of: a line for every option that a contract can give.

Reading, the bounds of each value, merging, the generated text and its imports all follow from these tables. Names are
those of ``carrick.v1.MethodPolicy`` and ``HandlingPolicy``, and of the runtime's classes, in the order of the latter.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from carrick_codegen._kinds import Choice, Codes, Count, Duration, Flag, Kind, Real

__all__ = ["HANDLING", "OPTION_NAMES", "PARTS", "POLICY", "Options"]


@dataclass(frozen=True, slots=True)
class Options:
    """A class of options of the runtime, and the fields of it that a contract can give."""

    name: str
    fields: Mapping[str, Kind]
    required: str | None = None
    """The field that the class cannot be made without."""


def _part(name: str, required: str | None = None, **fields: Kind) -> Options:
    return Options(name, {"enabled": Flag(), **fields}, required)


_SHARE = Real(lambda value: 0 < value <= 1, "above 0 and at most 1 (0.5 means half of the calls)")

POLICY = Options(
    "MethodPolicy",
    {
        "timeout": Duration(),
        "attempt_timeout": Duration(),
        "deadline_margin": Duration(zero=True),
        "min_remaining": Duration(),
        "priority": Choice("Priority", ("CRITICAL", "DEFAULT", "SHEDDABLE"), "PRIORITY_UNSPECIFIED"),
    },
)
"""The policy itself, without its parts."""

PARTS: Mapping[str, Options] = {
    "retry": _part(
        "RetryOptions",
        max_attempts=Count(1, 100, hint="1 turns retries off"),
        initial_backoff=Duration(),
        max_backoff=Duration(),
        multiplier=Real(lambda value: value >= 1, "1 or more (2 doubles the wait each time)"),
        codes=Codes("a success is not tried again"),
        replay_bytes=Count(),
    ),
    "retry_budget": _part(
        "RetryBudgetOptions",
        ratio=Real(lambda value: value >= 0, "0 or more (0.2 means one retry for five calls)"),
        per_second=Real(lambda value: value >= 0, "0 or more"),
        window=Duration(),
    ),
    "hedge": _part(
        "HedgeOptions",
        delay=Duration(),
        quantile=Real(lambda value: 0 < value < 1, "between 0 and 1 (0.95 makes one call in twenty late)"),
        window=Duration(),
        min_calls=Count(1),
        max_hedges=Count(1, 10),
    ),
    "breaker": _part(
        "BreakerOptions",
        failure_ratio=_SHARE,
        slow_after=Duration(),
        slow_ratio=_SHARE,
        window=Duration(),
        window_calls=Count(1, 10_000),
        min_calls=Count(1),
        open_for=Duration(),
        trials=Count(1),
    ),
    "concurrency": _part(
        "ConcurrencyOptions",
        limit=Count(1),
        adaptive=Flag(),
        min_limit=Count(1),
        max_limit=Count(1),
        max_queued=Count(),
    ),
    "throttle": _part(
        "ThrottleOptions",
        multiplier=Real(lambda value: value >= 1, "1 or more (2 is usual)"),
        window=Duration(),
    ),
    "cache": _part(
        "CacheOptions",
        ttl=Duration(zero=True),
        max_bytes=Count(),
        stale_if_error=Duration(zero=True),
    ),
    "fallback": _part(
        "FallbackOptions",
        last_good=Duration(),
        max_bytes=Count(),
        codes=Codes("a success needs no substitute"),
    ),
    "shedding": _part(
        "SheddingOptions",
        limit=Count(1),
        adaptive=Flag(),
        min_limit=Count(1),
        max_queued=Count(),
        max_queue_time=Duration(),
        max_loop_lag=Duration(),
    ),
    "rate_limit": _part(
        "RateLimitOptions",
        per_second=Real(lambda value: value > 0, "a number above 0 (0.1 is one call in ten seconds)"),
        burst=Count(1),
        by=Choice("RateKey", ("METHOD", "CALLER", "TENANT"), "BY_UNSPECIFIED"),
        max_keys=Count(1),
    ),
    "idempotency": _part(
        "IdempotencyOptions",
        required="key",
        key=Choice("KeyRule", ("OPTIONAL", "REQUIRED"), "KEY_UNSPECIFIED"),
        expiry=Duration(),
        replayed_errors=Codes("replies are always kept"),
    ),
}
"""The parts of a policy, each one a message of options.

A fallback's value and function are the runtime's only: no contract can give them.
"""

HANDLING = Options(
    "HandlingOptions",
    {
        "max_attempts": Count(1, 1000, hint="1 puts an event aside when it fails for the first time"),
        "timeout": Duration(),
        "initial_backoff": Duration(),
        "max_backoff": Duration(),
        "hold_key": Flag(),
        "unknown_type": Choice("UnknownType", ("DEAD_LETTER", "SKIP"), "UNKNOWN_TYPE_UNSPECIFIED"),
    },
)
"""What an event's consumers do with it."""

OPTION_NAMES = frozenset(
    name
    for options in (POLICY, *PARTS.values(), HANDLING)
    for name in (options.name, *(each for kind in options.fields.values() for each in kind.runtime_names))
)
"""Every name of the runtime that these may need."""
