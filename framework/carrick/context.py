"""What travels with a call or an event: ids, deadline, key, and the record of its attempts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from enum import Enum
from typing import Any, TypeAlias

from carrick.allowance import RetryAllowance
from carrick.claim import Claim, Receipt, Recorded
from carrick.errors import CarrickError, Code
from carrick.ids import MAX_ID_LENGTH, accepted_id, derived_id, random_id, unique_id
from carrick.method import MethodSpec
from carrick.options import Priority
from carrick.trace import Trace

__all__ = [
    "Attempt",
    "AttemptKind",
    "Call",
    "Context",
    "Metadata",
    "calling",
    "current",
    "detached",
    "enter",
    "enter_task",
]

Metadata: TypeAlias = tuple[tuple[str, str | bytes], ...]
"""Pairs of lower-case name and value. A name may occur more than once; names in ``-bin`` carry bytes."""


class AttemptKind(Enum):
    """Why an attempt was made."""

    FIRST = "first"
    RETRY = "retry"
    HEDGE = "hedge"


class Attempt:
    """One try of a call. Made anew for each try and filled in from below."""

    __slots__ = ("code", "deadline", "endpoint", "headers", "kind", "number", "retries_left", "sent", "trailers")

    def __init__(self, number: int, kind: AttemptKind) -> None:
        self.number = number
        """1 for the first try."""
        self.kind = kind
        self.deadline: float | None = None
        """Until when a response, or the first one of a stream, must be there; None: until the call's deadline."""
        self.endpoint: str | None = None
        """Id of the endpoint that was picked."""
        self.sent = False
        """False means: certainly never executed by the peer."""
        self.headers: Metadata = ()
        self.trailers: Metadata = ()
        """What the peer sent; filled in only when the attempt failed."""
        self.code: Code | None = None
        self.retries_left: int | None = None
        """What the call tree had left of its retries when the attempt failed; None where nobody counted."""


class Call:
    """One logical call, or the handling of one call or event. Shared by all its contexts, used by one event loop."""

    __slots__ = (
        "_outgoing",
        "allowance",
        "attempts",
        "claim",
        "receipt",
        "recorded",
        "scope",
        "trailers",
        "transaction",
        "winner",
    )

    def __init__(self) -> None:
        self.attempts: list[Attempt] = []
        self.winner: Attempt | None = None
        """The attempt whose answer counts: the last one begun, or the hedge that was answered first."""
        self.allowance: RetryAllowance | None = None
        """The retries left to the call tree; None where the calls above set no bound and none has failed."""
        self.trailers: Metadata = ()
        """On a server: what to send after the reply."""
        self.claim: Claim | None = None
        self.receipt: Receipt | None = None
        self.recorded: Recorded | None = None
        """The answer of an earlier execution, where this call repeats its idempotency key."""
        self.scope = ""
        """While an event is handled: its consumer, whose calls must have other keys than another consumer's."""
        self.transaction: Any = None
        """While an event is applied: the transaction that its effect is written in."""
        self._outgoing: dict[str, int] | None = None

    def ordinal(self, method: str) -> int:
        """Count the calls of ``method`` made while handling this one: 0 for the first."""
        if self._outgoing is None:
            self._outgoing = {}
        number = self._outgoing.get(method, 0)
        self._outgoing[method] = number + 1
        return number


class Context:
    """What a Service gets beside its request. Never changed after construction; ``new_attempt`` makes a copy."""

    __slots__ = (
        "attempt",
        "call",
        "causation_id",
        "correlation_id",
        "deadline",
        "key",
        "metadata",
        "method",
        "peer",
        "priority",
        "tenant",
        "trace",
    )

    def __init__(
        self,
        method: MethodSpec[Any, Any] | None,
        *,
        correlation_id: str | None = None,
        causation_id: str | None = None,
        deadline: float | None = None,
        key: str | None = None,
        metadata: Metadata = (),
        peer: str | None = None,
        trace: Trace | None = None,
        priority: Priority | None = None,
        tenant: str | None = None,
        call: Call | None = None,
        attempt: Attempt | None = None,
    ) -> None:
        self.method = method
        """The method called; None while an event is handled."""
        self.correlation_id = correlation_id or unique_id()
        """The same from the first call through everything that it set off."""
        self.causation_id = causation_id
        """The key or event id of what set this off."""
        self.deadline = deadline
        """In the time of the clock's ``monotonic()``; None for no limit."""
        self.key = key
        """Idempotency key of a call, id of an event."""
        self.metadata = metadata
        """On a server what came in, on a client what the caller adds."""
        self.peer = peer
        self.trace = trace
        self.priority = priority
        """Who is turned away first; None where nobody said, which is as DEFAULT."""
        self.tenant = tenant
        """On whose behalf the call is made, as its caller says: nothing here has proved it."""
        self.call = call or Call()
        self.attempt = attempt

    def __repr__(self) -> str:  # without key and metadata, which may be secrets
        method = self.method.full_name if self.method else "event"
        attempt = f", attempt {self.attempt.number}" if self.attempt else ""
        return f"<Context of {method}{attempt}, correlation id {self.correlation_id}>"

    def new_attempt(self, kind: AttemptKind) -> Context:
        """Copy this context for another try, with an attempt of its own."""
        attempts = self.call.attempts
        attempt = Attempt(len(attempts) + 1, kind)
        attempts.append(attempt)
        self.call.winner = attempt
        return self._copy(attempt=attempt)

    def with_trace(self, trace: Trace) -> Context:
        """Copy this context with another trace position."""
        return self._copy(trace=trace)

    def labelled(self, *, priority: Priority | None, tenant: str | None) -> Context:
        """Copy this context with another priority or tenant, where one is given."""
        if tenant is not None and accepted_id(tenant) is None:
            raise CarrickError(Code.INVALID_ARGUMENT, f"a tenant is 1 to {MAX_ID_LENGTH} visible ASCII characters")
        copy = self._copy()
        copy.priority = priority or self.priority
        copy.tenant = tenant or self.tenant
        return copy

    def remaining(self, now: float) -> float | None:
        """Return the seconds left until the deadline, negative when it has passed, or None without a deadline."""
        return None if self.deadline is None else self.deadline - now

    def remaining_for_response(self, now: float) -> float | None:
        """Return the seconds left for a response, or the first of a stream: the attempt's deadline counts too."""
        deadline = self.deadline
        if self.attempt is not None and self.attempt.deadline is not None:
            deadline = self.attempt.deadline if deadline is None else min(self.attempt.deadline, deadline)
        return None if deadline is None else deadline - now

    def outgoing_key(self, method: str, name: str | None = None) -> str:
        """Return the idempotency key for a call made while handling this one.

        It is derived from this context's key, the method, and ``name`` or else the number of earlier calls of that
        method, so that handling the same call or event again gives the same keys. Where calls of one method run
        concurrently, or under conditions that can change, name them.
        """
        if self.key is None:
            return random_id()
        scope = self.method.full_name if self.method else self.call.scope
        return derived_id(self.key, scope, method, name if name is not None else f"#{self.call.ordinal(method)}")

    def _copy(self, *, attempt: Attempt | None = None, trace: Trace | None = None) -> Context:
        copy = object.__new__(Context)
        copy.method = self.method
        copy.correlation_id = self.correlation_id
        copy.causation_id = self.causation_id
        copy.deadline = self.deadline
        copy.key = self.key
        copy.metadata = self.metadata
        copy.peer = self.peer
        copy.priority = self.priority
        copy.tenant = self.tenant
        copy.trace = self.trace if trace is None else trace
        copy.call = self.call
        copy.attempt = self.attempt if attempt is None else attempt
        return copy


_current: ContextVar[Context | None] = ContextVar("carrick_context", default=None)


def current() -> Context | None:
    """Return the context of the call or event that this task is handling, or None."""
    return _current.get()


class enter:  # noqa: N801  # used like a function; a class, since a generator costs each call 1 µs
    """Make ``ctx`` the current context inside the block. For what receives calls and events, and for tests."""

    __slots__ = ("_ctx", "_token")

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx

    def __enter__(self) -> Context:
        self._token = _current.set(self._ctx)
        return self._ctx

    def __exit__(self, *exc_info: object) -> None:
        _current.reset(self._token)


def enter_task(ctx: Context) -> None:
    """Make ``ctx`` the current context for the rest of this task. For what handles each call in a task of its own."""
    _current.set(ctx)


@contextmanager
def calling(*, priority: Priority | None = None, tenant: str | None = None) -> Iterator[Context]:
    """Give the calls made inside the block a priority or a tenant; what is None stays as it was.

    For the edge of a system, and for work that can wait: ``with carrick.calling(priority=Priority.SHEDDABLE):``.
    """
    inside = _current.get() or Context(None)
    inside = inside.labelled(priority=priority, tenant=tenant)
    with enter(inside):
        yield inside


@contextmanager
def detached() -> Iterator[None]:
    """Leave the current context: tasks started inside inherit no deadline, no key and no correlation id."""
    token = _current.set(None)
    try:
        yield
    finally:
        _current.reset(token)
