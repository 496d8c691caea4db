"""Carrick: services that call each other and must not lose work.

This package exports the kernel: what handlers and generated code speak in. Everything else has its own module
(:mod:`carrick.rpc`, :mod:`carrick.store`, :mod:`carrick.outbox`, :mod:`carrick.messaging`, ...).
"""

from carrick.catalogue import EventCatalogue
from carrick.clock import Clock, SystemClock
from carrick.context import Attempt, AttemptKind, Call, Context, Metadata, current, detached
from carrick.errors import (
    CarrickError,
    Code,
    ConfigurationError,
    DeadlineError,
    DuplicateEventError,
    MessagingError,
    OutboxError,
    RejectedError,
    RemoteError,
    StoreError,
    TransportError,
)
from carrick.event import EventSpec
from carrick.method import IdempotencyLevel, MethodKind, MethodSpec
from carrick.options import (
    BreakerOptions,
    IdempotencyOptions,
    KeyRule,
    MethodPolicy,
    RetryOptions,
)
from carrick.route import EventRoute, MethodRoute
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
    "MethodSpec",
    "MethodKind",
    "IdempotencyLevel",
    "EventSpec",
    "EventCatalogue",
    "EventRoute",
    "MethodRoute",
    "MethodPolicy",
    "RetryOptions",
    "BreakerOptions",
    "IdempotencyOptions",
    "KeyRule",
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
    "ConfigurationError",
]
