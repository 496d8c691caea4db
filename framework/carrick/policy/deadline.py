"""Deadlines: one for all attempts, carried through every hop, and nothing begun that it leaves no time for."""

from collections.abc import Awaitable
from typing import Any

from carrick.clock import Clock
from carrick.context import Context
from carrick.errors import DeadlineError
from carrick.service import Filter, Service

__all__ = ["DEFAULT_MARGIN", "bound_attempts", "effective_deadline", "refuse_expired"]

DEFAULT_MARGIN = 0.01
"""Seconds that an inherited deadline is shortened by, unless a policy says otherwise."""


def effective_deadline(
    now: float, timeout: float | None, inherited: float | None, margin: float = DEFAULT_MARGIN
) -> float | None:
    """Return the earlier of ``now + timeout`` and the deadline of what is being handled, less the margin.

    None means no limit.
    """
    if inherited is None:
        return None if timeout is None else now + timeout
    bound = inherited - margin
    return bound if timeout is None else min(now + timeout, bound)


def refuse_expired(clock: Clock) -> Filter:
    """Make a filter that raises ``DeadlineError`` instead of beginning work whose deadline has passed."""
    monotonic = clock.monotonic

    def deadline(request: Any, ctx: Context, service: Service) -> Awaitable[Any]:
        if ctx.deadline is not None and ctx.deadline <= monotonic():
            name = "the call" if ctx.method is None else ctx.method.full_name
            raise DeadlineError(f"{name} was not begun: its deadline had passed", attempt=ctx.attempt)
        return service(request, ctx)

    return deadline


def bound_attempts(timeout: float | None, min_remaining: float | None, *, clock: Clock) -> Filter:
    """Make a filter that gives each attempt ``timeout`` seconds, and refuses one that cannot finish.

    With less than ``min_remaining`` seconds until the call's deadline it raises ``DeadlineError``, and nothing is sent.
    The transport enforces an attempt's deadline, until its response or the first one of a stream.
    """
    monotonic = clock.monotonic

    def bounded(request: Any, ctx: Context, service: Service) -> Awaitable[Any]:
        attempt = ctx.attempt
        assert ctx.method is not None
        assert attempt is not None
        now = monotonic()
        remaining = ctx.remaining(now)
        if min_remaining is not None and remaining is not None and remaining < min_remaining:
            raise DeadlineError(
                f"{ctx.method.full_name} was not sent: it needs {min_remaining:g} s, "
                f"and {max(remaining, 0.0):.3g} s are left until its deadline",
                attempt=attempt,
            )
        if timeout is not None and (remaining is None or timeout < remaining):
            attempt.deadline = now + timeout
        return service(request, ctx)

    return bounded
