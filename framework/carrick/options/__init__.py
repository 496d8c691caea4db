"""The options of every policy, one dataclass each, checked when made.

A field of :class:`MethodPolicy` that is None means: not asked for, so not in the stack. All times are seconds.
"""

from carrick.options._checks import Part
from carrick.options.breaker import BreakerOptions
from carrick.options.handling import HandlingOptions, UnknownType
from carrick.options.load import (
    ConcurrencyOptions,
    Priority,
    RateKey,
    RateLimitOptions,
    SheddingOptions,
    ThrottleOptions,
)
from carrick.options.policy import MethodPolicy, PolicyOverride, override_for
from carrick.options.reply import OUTAGES, OVERLOAD, CacheOptions, FallbackOptions, IdempotencyOptions, KeyRule
from carrick.options.retry import HedgeOptions, RetryBudgetOptions, RetryOptions

__all__ = [
    "OUTAGES",
    "OVERLOAD",
    "BreakerOptions",
    "CacheOptions",
    "ConcurrencyOptions",
    "FallbackOptions",
    "HandlingOptions",
    "HedgeOptions",
    "IdempotencyOptions",
    "KeyRule",
    "MethodPolicy",
    "Part",
    "PolicyOverride",
    "Priority",
    "RateKey",
    "RateLimitOptions",
    "RetryBudgetOptions",
    "RetryOptions",
    "SheddingOptions",
    "ThrottleOptions",
    "UnknownType",
    "override_for",
]
