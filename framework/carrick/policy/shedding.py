"""Load shedding: a server turns away what it cannot answer in time, the least important first.

After Beyer et al., "Site Reliability Engineering", chapters 21 and 22. Turning a call away costs little, so a server in
overload goes on answering as many calls as it can.
"""

from collections.abc import Awaitable, Callable
from typing import Any

from carrick.clock import Clock
from carrick.context import Context
from carrick.errors import CarrickError, DeadlineError
from carrick.observe import CallShed, Observer
from carrick.options import Priority, SheddingOptions
from carrick.policy.concurrency import ConcurrencyState, Refusal, in_turn
from carrick.policy.gradient import GradientLimit
from carrick.policy.lag import LoopLag
from carrick.policy.pushback import turned_away
from carrick.service import Filter, Service

__all__ = ["OVERLOADED", "SHARES", "shedding", "shedding_state"]

OVERLOADED = "OVERLOADED"
"""The reason in the ``ErrorInfo`` of a call that was turned away."""

SHARES = (100, 90, 70)
"""What critical, default and sheddable calls may use of the limit, in per cent."""

_CRITICAL, _DEFAULT, _SHEDDABLE = Priority.CRITICAL, Priority.DEFAULT, Priority.SHEDDABLE
_LOOP_LAG = "loop_lag"
_MIN_WAIT, _MAX_WAIT = 0.1, 2.0
_WHY = {
    Refusal.LIMIT.value: "all places for calls of its priority are taken",
    Refusal.QUEUE.value: "all places for calls of its priority are taken, and as many wait as may",
    Refusal.TIME.value: "its turn would have come too late",
    _LOOP_LAG: "the event loop is late",
}


def shedding_state(options: SheddingOptions) -> ConcurrencyState:
    """Return the state of a server's limit, for all of its methods or for one."""
    return ConcurrencyState(
        options.limit,
        max_queued=options.max_queued,
        max_queue_time=options.max_queue_time,
        shares=SHARES,
        adaptive=GradientLimit(initial=options.limit, minimum=options.min_limit, maximum=options.limit)
        if options.adaptive
        else None,
    )


def shedding(
    options: SheddingOptions,
    state: ConcurrencyState,
    *,
    clock: Clock,
    uniform: Callable[[], float],
    observe: Observer,
    lag: LoopLag | None = None,
) -> Filter:
    """Make a filter that turns calls away when ``state`` has no place for them, or the event loop lags.

    Such a call raises ``RejectedError`` (``RESOURCE_EXHAUSTED``, reason ``OVERLOADED``) and was not begun. Its trailers
    ask to stay away for about as long as a call takes, from 0.1 to 2 seconds, times 0.5 to 1.5 by chance (``uniform``
    gives numbers from 0 up to 1), so that those turned away together do not come back together. One whose deadline
    passed in the queue raises ``DeadlineError``. A stream of responses holds its place until its end. ``lag`` is looked
    at where ``options`` have a ``max_loop_lag``.
    """

    def refused(reason: str, ctx: Context, wait: float, now: float | None = None) -> CarrickError:
        assert ctx.method is not None
        method, priority = ctx.method.full_name, (ctx.priority or _DEFAULT).value
        observe(CallShed(method=method, priority=priority, reason=reason))
        if now is not None and ctx.deadline is not None and ctx.deadline <= now:
            return DeadlineError(f"{method} was not begun: its deadline passed while it waited for its turn")
        return turned_away(
            ctx,
            f"{method} was turned away by an overloaded server: {_WHY[reason]}; try again later",
            reason=OVERLOADED,
            wait=min(max(wait, _MIN_WAIT), _MAX_WAIT) * (0.5 + uniform()),
            metadata={"cause": reason, "priority": priority},
        )

    def no_place(refusal: Refusal, ctx: Context, now: float) -> CarrickError:
        return refused(refusal.value, ctx, state.held, now)

    placed = in_turn(state, clock=clock, refused=no_place)
    if lag is None or options.max_loop_lag is None:
        return placed
    monotonic, lateness, most = clock.monotonic, lag.lag, options.max_loop_lag

    def in_time(request: Any, ctx: Context, service: Service) -> Awaitable[Any]:
        if (late := lateness(monotonic())) >= most:
            priority = ctx.priority
            if priority is not _CRITICAL and (priority is _SHEDDABLE or late >= 2 * most):
                raise refused(_LOOP_LAG, ctx, late)
        return placed(request, ctx, service)

    return in_time
