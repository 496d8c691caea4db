"""Retry budget: retries and hedges are a share of the calls, so that they cannot keep an overload going.

After Finagle's RetryBudget, as a balance over a sliding window instead of tokens that expire.
"""

from collections.abc import Awaitable
from typing import Any

from carrick.clock import Clock
from carrick.context import Context
from carrick.options import RetryBudgetOptions
from carrick.policy.window import SlidingCounts
from carrick.service import Filter, Service

__all__ = ["RetryBudget", "pay_in"]

_CALL, _RETRY = range(2)


class RetryBudget:
    """How many retries and hedges the calls of the window have paid for. Pure. Used from one event loop."""

    def __init__(self, options: RetryBudgetOptions) -> None:
        self._ratio = options.ratio
        self._free = options.per_second * options.window
        self._counts = SlidingCounts(options.window, 2)

    def called(self, now: float) -> None:
        """Count a call, whatever comes of it."""
        self._counts.add(now, _CALL)

    def balance(self, now: float) -> float:
        """Return how many retries there could be now."""
        calls, retries = self._counts.totals(now)
        return self._ratio * calls + self._free - retries

    def withdraw(self, now: float) -> bool:
        """Take one retry or hedge out; false when there is less than one left."""
        if self.balance(now) < 1:
            return False
        self._counts.add(now, _RETRY)
        return True

    def counts(self, now: float) -> tuple[int, int]:
        """Return the calls, and the retries and hedges, of the window."""
        calls, retries = self._counts.totals(now)
        return calls, retries

    def refusal(self, now: float) -> str:
        """Return why :meth:`withdraw` was false, in words."""
        calls, retries = self.counts(now)
        return f"the retry budget is spent: {retries} retries and hedges beside {calls} calls"


def pay_in(budget: RetryBudget, *, clock: Clock) -> Filter:
    """Make a filter that counts calls."""
    monotonic, called = clock.monotonic, budget.called

    def counted(request: Any, ctx: Context, service: Service) -> Awaitable[Any]:
        called(monotonic())
        return service(request, ctx)

    return counted
