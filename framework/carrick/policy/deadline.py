"""Deadlines: one for all attempts, carried through every hop, and nothing begun after it."""

from collections.abc import Awaitable
from typing import Any

from carrick.clock import Clock
from carrick.context import Context
from carrick.errors import DeadlineError
from carrick.service import Filter, Service

__all__ = ["effective_deadline", "refuse_expired"]


def effective_deadline(now: float, timeout: float | None, inherited: float | None) -> float | None:
    """Return the earlier of ``now + timeout`` and the deadline of what is being handled. None means no limit."""
    if timeout is None:
        return inherited
    own = now + timeout
    return own if inherited is None or own < inherited else inherited


def refuse_expired(clock: Clock) -> Filter:
    """Make a filter that raises ``DeadlineError`` instead of beginning work whose deadline has passed."""
    monotonic = clock.monotonic

    def deadline(request: Any, ctx: Context, service: Service) -> Awaitable[Any]:
        if ctx.deadline is not None and ctx.deadline <= monotonic():
            name = "the call" if ctx.method is None else ctx.method.full_name
            raise DeadlineError(f"{name} was not begun: its deadline had passed", attempt=ctx.attempt)
        return service(request, ctx)

    return deadline
