"""Client-side throttling: refuse calls to a service that refuses too many, before they are sent.

After Beyer et al., "Site Reliability Engineering", chapter 21, "Client-Side Throttling": refusing a call costs an
overloaded service nearly as much as answering one, so its clients do it themselves, each by what it saw.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from carrick.clock import Clock
from carrick.context import Context
from carrick.errors import CarrickError, Code, RejectedError
from carrick.observe import CallThrottled, Observer
from carrick.options import OVERLOAD, ThrottleOptions
from carrick.policy.window import SlidingCounts
from carrick.service import Filter, Service

__all__ = ["MOST_REFUSED", "Demand", "ThrottleState", "throttle"]

MOST_REFUSED = 0.9
"""The greatest probability of a refusal: one call in ten finds out whether the service is well again.

The book has no such bound: after an outage as long as the window its client sends one call in thousands, and takes ten
minutes to come back where this one takes four. Envoy's admission control has one too.
"""

_REQUESTS, _ACCEPTS = range(2)


class Demand(NamedTuple):
    """Calls in the window that were wanted, and those of them that the service accepted."""

    requests: int
    accepts: int


class ThrottleState:
    """When to refuse. Pure: time comes in with each call, chance from ``uniform``, which gives numbers from 0 up to 1.

    Calls are counted when they end: a burst of calls still under way says nothing about the service yet. A refused call
    is counted as a request that was not accepted, as in the book: as long as its users want too much, a client goes on
    refusing. One state serves all calls to a service.
    """

    __slots__ = ("_counts", "_multiplier", "_uniform")

    def __init__(self, options: ThrottleOptions, uniform: Callable[[], float]) -> None:
        self._multiplier = options.multiplier
        self._uniform = uniform
        self._counts = SlidingCounts(options.window, len(Demand._fields))

    def refuses(self, now: float) -> bool:
        """Say whether a call is refused; it has been counted then."""
        requests, accepts = self._counts.totals(now)
        excess = requests - self._multiplier * accepts
        if excess <= 0 or self._uniform() >= min(excess / (requests + 1), MOST_REFUSED):
            return False
        self._counts.add(now, _REQUESTS)
        return True

    def accepted(self, now: float) -> None:
        """Count a call that the service took on."""
        self._counts.add_each(now, (_REQUESTS, _ACCEPTS))

    def unaccepted(self, now: float) -> None:
        """Count a call that it did not."""
        self._counts.add(now, _REQUESTS)

    def demand(self, now: float) -> Demand:
        """Return what is counted in the window."""
        return Demand(*self._counts.totals(now))


def throttle(state: ThrottleState, *, clock: Clock, observe: Observer) -> Filter:
    """Make a filter that refuses calls as ``state`` decides, and tells it how the others ended.

    Stands outside retry: a call counts once, by its last attempt that was sent; where a stream of responses is given,
    by the first of them. A call that was cancelled, or none of whose attempts was sent, counts for nothing: an open
    circuit, or a limit on this side, would else hold calls back long after the service is well again.

    A refused call raises ``RejectedError`` with ``RESOURCE_EXHAUSTED`` and not ``UNAVAILABLE``: the callers above must
    not try again what is refused because there is too much of it.
    """
    monotonic = clock.monotonic

    async def throttled(request: Any, ctx: Context, service: Service) -> Any:
        if state.refuses(monotonic()):
            raise _refused(state.demand(monotonic()), ctx, observe)
        try:
            reply = await service(request, ctx)
        except CarrickError as error:
            code = _verdict(error, ctx)
            if code in OVERLOAD:
                state.unaccepted(monotonic())
            elif code is not None:
                state.accepted(monotonic())
            raise
        state.accepted(monotonic())
        return reply

    return throttled


def _refused(demand: Demand, ctx: Context, observe: Observer) -> RejectedError:
    assert ctx.method is not None
    observe(CallThrottled(method=ctx.method.full_name, requests=demand.requests, accepts=demand.accepts))
    return RejectedError(
        Code.RESOURCE_EXHAUSTED,
        f"{ctx.method.full_name} was not sent: the service accepted {demand.accepts} of the last {demand.requests} "
        "calls; ask less of it",
        attempt=ctx.attempt,
    )


def _verdict(error: CarrickError, ctx: Context) -> Code | None:
    """Return the status with which the service answered the call's last sent attempt; None when none was sent.

    The error itself may speak of something else: a circuit that its failures opened, or a deadline that left no time
    for another attempt.
    """
    for attempt in reversed(ctx.call.attempts):
        if attempt.sent:
            return attempt.code or error.code
    return None
