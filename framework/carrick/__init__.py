"""Carrick: services that call each other and must not lose work.

This package exports the kernel: what handlers and generated code speak in. Everything else has its own module
(:mod:`carrick.rpc`, :mod:`carrick.store`, :mod:`carrick.outbox`, :mod:`carrick.messaging`, ...).
"""

from carrick.catalogue import EventCatalogue
from carrick.clock import Clock, SystemClock
from carrick.context import Attempt, AttemptKind, Call, Context, Metadata, calling, current, detached
from carrick.errors import (
    CarrickError,
    Code,
    ConfigurationError,
    DeadlineError,
    DuplicateEventError,
    MessagingError,
    OutboxError,
    PermanentError,
    RejectedError,
    RemoteError,
    StoreError,
    TransportError,
)
from carrick.event import EventSpec
from carrick.method import IdempotencyLevel, MethodKind, MethodSpec
from carrick.options import (
    BreakerOptions,
    CacheOptions,
    ConcurrencyOptions,
    FallbackOptions,
    HandlingOptions,
    HedgeOptions,
    IdempotencyOptions,
    KeyRule,
    MethodPolicy,
    PolicyOverride,
    Priority,
    RateKey,
    RateLimitOptions,
    RetryBudgetOptions,
    RetryOptions,
    SheddingOptions,
    ThrottleOptions,
    UnknownType,
)
from carrick.route import EventRoute, MethodRoute, Upcaster
from carrick.service import Filter, Service, stack
from carrick.trace import Trace

__version__ = "0.1.0"

__all__ = [
    "Service",
    "Filter",
    "stack",
    "Context",
    "Call",
    "Attempt",
    "AttemptKind",
    "Metadata",
    "Trace",
    "current",
    "detached",
    "calling",
    "MethodSpec",
    "MethodKind",
    "IdempotencyLevel",
    "EventSpec",
    "EventCatalogue",
    "EventRoute",
    "MethodRoute",
    "Upcaster",
    "HandlingOptions",
    "UnknownType",
    "MethodPolicy",
    "PolicyOverride",
    "RetryOptions",
    "RetryBudgetOptions",
    "HedgeOptions",
    "BreakerOptions",
    "ConcurrencyOptions",
    "ThrottleOptions",
    "CacheOptions",
    "FallbackOptions",
    "SheddingOptions",
    "RateLimitOptions",
    "RateKey",
    "IdempotencyOptions",
    "KeyRule",
    "Priority",
    "Clock",
    "SystemClock",
    "Code",
    "CarrickError",
    "RejectedError",
    "DeadlineError",
    "TransportError",
    "RemoteError",
    "MessagingError",
    "OutboxError",
    "StoreError",
    "DuplicateEventError",
    "PermanentError",
    "ConfigurationError",
]
