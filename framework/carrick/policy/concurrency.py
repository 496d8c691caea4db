"""A limit of the calls under way: on a client a bulkhead, on a server what load shedding rests on."""

import asyncio
from collections.abc import Callable
from typing import Any

from carrick.clock import Clock
from carrick.context import Context
from carrick.errors import CarrickError, Code, DeadlineError, RejectedError
from carrick.method import MethodKind
from carrick.observe import LimitReached, Observer
from carrick.options import OUTAGES, OVERLOAD, ConcurrencyOptions
from carrick.policy.concurrency_state import ConcurrencyState, Outcome, Refusal, Waiter
from carrick.policy.gradient import GradientLimit
from carrick.service import Filter, Service
from carrick.stream import Concluding

__all__ = [
    "ConcurrencyState",
    "Outcome",
    "Refusal",
    "Waiter",
    "concurrency",
    "concurrency_state",
    "in_turn",
    "outcome_of",
]

_UNARY = MethodKind.UNARY
_ANSWERED, _SILENT = Outcome.ANSWERED, Outcome.SILENT
_NEARLY = 0.1
_WHY = {
    Refusal.LIMIT: "and none may wait",
    Refusal.QUEUE: "and no more may wait",
    Refusal.TIME: "and its turn would come too late",
}


def outcome_of(error: BaseException, ctx: Context, now: float, began: float) -> Outcome:
    """Say what a unary call's error means for an adaptive limit.

    A failure that comes at once is no latency; so only answers like NOT_FOUND count. A cancellation is a timeout when
    the deadline has come, or is as near as clocks and the way from the caller make it: a tenth of the time taken.
    """
    if isinstance(error, CarrickError):
        if error.attempt is not None and not error.attempt.sent:
            return Outcome.SILENT
        if error.code in OVERLOAD:
            return Outcome.DROPPED
        return Outcome.SILENT if error.code in OUTAGES else Outcome.ANSWERED
    late = isinstance(error, asyncio.CancelledError) and ctx.deadline is not None
    if late and ctx.deadline is not None and ctx.deadline - now <= (now - began) * _NEARLY:
        return Outcome.DROPPED
    return Outcome.SILENT


def in_turn(
    state: ConcurrencyState, *, clock: Clock, refused: Callable[[Refusal, Context, float], CarrickError]
) -> Filter:
    """Make a filter that lets a call through with one of the places of ``state``, at once or after its turn has come.

    For one that gets none it raises what ``refused`` makes of why, of its context, and of the time. A stream of
    responses holds its place until its own end. Only unary calls move an adaptive limit: how long a stream takes is not
    the service's doing alone.
    """
    monotonic, acquire, released = clock.monotonic, state.acquire, state.released

    def give_back(began: float, outcome: Outcome) -> None:
        for waiter in released(monotonic(), began, outcome):
            waiter.wake()

    async def placed(request: Any, ctx: Context, service: Service) -> Any:
        attempt = ctx.attempt
        began = monotonic()
        deadline = ctx.deadline if attempt is None or attempt.deadline is None else attempt.deadline
        verdict = acquire(began, deadline, ctx.priority)
        if verdict is not None:
            refusal = await turn(state, verdict, clock) if isinstance(verdict, Waiter) else verdict
            began = monotonic()
            if refusal is not None:
                raise refused(refusal, ctx, began)
        method = ctx.method
        assert method is not None
        try:
            reply = await service(request, ctx)
        except BaseException as error:
            unary = method.kind is _UNARY
            give_back(began, outcome_of(error, ctx, monotonic(), began) if unary else _SILENT)
            raise
        if method.streams_responses:
            return Concluding(reply, lambda error: give_back(began, _SILENT))
        for waiter in released(monotonic(), began, _ANSWERED if method.kind is _UNARY else _SILENT):
            waiter.wake()
        return reply

    return placed


async def turn(state: ConcurrencyState, waiter: Waiter, clock: Clock) -> Refusal | None:
    """Wait for a place; return None with one, or why there is none.

    Cancelling leaves the queue, or hands back a place that was just given. A place that was given in time and is taken
    too late, by an event loop that lags, is handed back.
    """
    decided = asyncio.get_running_loop().create_future()
    waiter.woken = lambda: None if decided.done() else decided.set_result(None)
    if waiter.displaced is not None:
        waiter.displaced.wake()
    timer = None
    if waiter.expires is not None:
        timer = asyncio.create_task(_ring(waiter, waiter.expires, clock))
    in_time = False
    try:
        await decided
        in_time = waiter.admitted and (waiter.expires is None or clock.monotonic() < waiter.expires)
    finally:
        if timer is not None:
            timer.cancel()
        if not in_time:
            for other in state.left(waiter, clock.monotonic()):
                other.wake()
    return None if in_time else waiter.refusal or Refusal.TIME


async def _ring(waiter: Waiter, at: float, clock: Clock) -> None:
    await clock.sleep(at - clock.monotonic())
    waiter.wake()


def concurrency_state(options: ConcurrencyOptions) -> ConcurrencyState:
    """Return the state of a client's limit to one endpoint."""
    return ConcurrencyState(
        options.limit,
        max_queued=options.max_queued,
        adaptive=GradientLimit(initial=options.limit, minimum=options.min_limit, maximum=options.max_limit)
        if options.adaptive
        else None,
    )


def concurrency(state: ConcurrencyState, *, endpoint: str, clock: Clock, observe: Observer) -> Filter:
    """Make a filter that lets no more calls through to an endpoint than ``state`` has places.

    What gets none raises ``RejectedError`` (``UNAVAILABLE``, since another endpoint, or the same one a moment later,
    may take it) and is never sent; one whose deadline passes in the queue, ``DeadlineError``. A stream of responses
    holds its place until its end.
    """

    def refused(refusal: Refusal, ctx: Context, now: float) -> CarrickError:
        assert ctx.method is not None
        method = ctx.method.full_name
        observe(LimitReached(method=method, endpoint=endpoint, limit=state.limit))
        if ctx.deadline is not None and ctx.deadline <= now:
            return DeadlineError(
                f"{method} was not sent: its deadline passed while it waited for one of the {state.limit} calls to "
                f"{endpoint} to end",
                attempt=ctx.attempt,
            )
        return RejectedError(
            Code.UNAVAILABLE,
            f"{method} was not sent: {state.limit} calls to {endpoint} are under way, {_WHY[refusal]}; "
            "try again later, or raise limit or max_queued in its concurrency policy",
            attempt=ctx.attempt,
        )

    return in_turn(state, clock=clock, refused=refused)
