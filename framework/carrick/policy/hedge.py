"""Hedged calls: when an answer is late, ask once more beside, and take the first answer.

After Dean and Barroso, "The Tail at Scale" (CACM 2013). gRPC proposal A6 calls it hedgingPolicy; its core has none for
Python.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

from carrick.cancellation import finish
from carrick.clock import Clock
from carrick.context import AttemptKind, Context
from carrick.errors import CarrickError
from carrick.observe import HedgeSent, Observer, RetryNotMade
from carrick.options import OUTAGES, HedgeOptions
from carrick.policy.budget import RetryBudget
from carrick.policy.pushback import pushback
from carrick.policy.quantile import SlidingQuantile
from carrick.policy.replay import Replay
from carrick.policy.retry import repeatable
from carrick.service import Filter, Service
from carrick.stream import close

__all__ = ["Lateness", "hedge"]


class Lateness:
    """When an answer is late: after a fixed time, or later than a share of the latest answers. Pure."""

    def __init__(self, options: HedgeOptions) -> None:
        self._fixed = options.delay
        self._min_calls = options.min_calls
        self._times = SlidingQuantile(options.window, options.quantile)

    def delay(self, now: float) -> float | None:
        """Return the seconds to wait for an answer before a hedge, or None while too little is known."""
        return self._fixed if self._fixed is not None else self._times.value(now, self._min_calls)

    def took(self, now: float, seconds: float) -> None:
        """Note how long an attempt took; one that was cancelled for another's answer, how long it had taken."""
        if self._fixed is None:
            self._times.add(now, seconds)


def hedge(
    options: HedgeOptions, lateness: Lateness, *, budget: RetryBudget | None, clock: Clock, observe: Observer
) -> Filter:
    """Make a filter that begins another attempt when the answer is late, and answers with the first that comes.

    Only for calls that may be executed twice; each hedge takes a retry out of the budget, and out of what the calls
    above allow. The others are cancelled, and have ended when the call returns. An error that is an answer ends the
    call; one that speaks against the endpoint does when it is the last. A stream of responses has answered with its
    first.
    """
    monotonic = clock.monotonic
    queue = _Queue(clock)

    async def hedged(request: Any, ctx: Context, service: Service) -> Any:
        begun = monotonic()
        delay = lateness.delay(begun)
        if delay is None or not repeatable(ctx):
            return await alone(begun, request, ctx, service)
        caller = asyncio.current_task()
        race: _Race | None = None
        waiting: _Waiting | None = None

        def late() -> None:
            """Begin another attempt beside the others, if there may be one, and see when that one is late."""
            nonlocal race, waiting
            if (race is not None and race.over) or not may_hedge(request, ctx):
                return
            assert caller is not None
            race = race or _Race(request, ctx, service, lateness, clock, caller)
            observe(HedgeSent(method=_name(ctx), attempt=len(ctx.call.attempts) + 1, delay=delay))
            race.begin_beside()
            if race.hedges < options.max_hedges:
                waiting = queue.wait(monotonic() + delay, late)

        waiting = queue.wait(begun + delay, late)
        try:
            reply = await service(request, ctx)
        except BaseException as error:
            took(begun)
            if race is None:
                raise
            return await race.first_failed(error)
        else:
            took(begun)
            return reply if race is None else await race.first_answered(reply)
        finally:
            waiting.late = None

    def took(begun: float) -> None:
        """Note how long an attempt took, even when it was cancelled.

        Leaving that out would make answers seem faster the more calls are hedged.
        """
        now = monotonic()
        lateness.took(now, now - begun)

    async def alone(begun: float, request: Any, ctx: Context, service: Service) -> Any:
        reply = await service(request, ctx)
        took(begun)
        return reply

    def may_hedge(request: Any, ctx: Context) -> bool:
        """Say whether another attempt may be begun, and take it out of what bounds them."""
        now, allowance = clock.monotonic(), ctx.call.allowance
        if allowance is not None and not allowance.inherited:
            allowance = None
        if isinstance(request, Replay) and not request.whole:
            reason = "the requests are more than are kept"
        elif allowance is not None and allowance.left <= 0:
            reason = "the retries of the whole call tree were made"
        elif budget is not None and not budget.withdraw(now):
            reason = budget.refusal(now)
        else:
            if allowance is not None:
                allowance.spend()
            return True
        number, kind = len(ctx.call.attempts), AttemptKind.HEDGE.value
        observe(RetryNotMade(method=_name(ctx), attempt=number, kind=kind, reason=reason))
        return False

    return hedged


class _Waiting:
    """A call that waits for its answer."""

    __slots__ = ("due", "late")

    def __init__(self, due: float, late: Callable[[], None]) -> None:
        self.due = due
        self.late: Callable[[], None] | None = late
        """What to do when the answer is late; None once it is there."""


class _Queue:
    """The calls that wait for answers, in the order in which they began, with one timer for all of them.

    All wait for about as long, so that the first is late first, and most have their answer by then: a timer of its own
    for each would cost ten times as much. Where the delay has become shorter, a call is late with the one before it.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._waiting: deque[_Waiting] = deque()
        self._armed = False

    def wait(self, due: float, late: Callable[[], None]) -> _Waiting:
        """Have ``late`` called when that time has come, unless it was taken away."""
        waiting = _Waiting(due, late)
        self._waiting.append(waiting)
        if not self._armed:
            self._arm(due - self._clock.monotonic())
        return waiting

    def _arm(self, seconds: float) -> None:
        self._armed = True
        self._clock.call_later(max(seconds, 0.0), self._ring)

    def _ring(self) -> None:
        now = self._clock.monotonic()
        while self._waiting and (self._waiting[0].late is None or self._waiting[0].due <= now):
            late = self._waiting.popleft().late
            if late is not None:
                late()
        self._armed = False
        if self._waiting:
            self._arm(self._waiting[0].due - now)


class _Race:
    """Attempts side by side until one has answered: the first runs in the caller's own task, hedges in theirs.

    So a call that is answered in time costs a timer and no task. Where a hedge is first, the first attempt is
    interrupted as ``asyncio.timeout`` interrupts: by a cancellation of the caller's task that is taken back, unless
    somebody else has cancelled it too.
    """

    def __init__(
        self,
        request: Any,
        ctx: Context,
        service: Service,
        lateness: Lateness,
        clock: Clock,
        caller: asyncio.Task[Any],
    ) -> None:
        self._request = request
        self._ctx = ctx
        self._service = service
        self._lateness = lateness
        self._clock = clock
        self._caller = caller
        self._cancelling = caller.cancelling()
        self._interrupted = False
        self._first_runs = True
        self._hedges: dict[asyncio.Task[Any], Context] = {}
        self._running: set[asyncio.Task[Any]] = set()
        self._decided = False
        self._reply: Any = None
        self._error: BaseException | None = None
        self._spare: list[Any] = []
        self._stopped = False

    @property
    def over(self) -> bool:
        """Whether no more attempts are to be begun: one has answered, all have failed, or a server asked for none."""
        return self._stopped or self._decided or not (self._first_runs or self._running)

    @property
    def hedges(self) -> int:
        """How many there were."""
        return len(self._hedges)

    def begin_beside(self) -> None:
        """Begin a hedge."""
        ctx = self._ctx.new_attempt(AttemptKind.HEDGE)
        task = asyncio.create_task(self._timed(ctx))
        self._hedges[task] = ctx
        self._running.add(task)
        task.add_done_callback(self._ended)

    async def first_answered(self, reply: Any) -> Any:
        """Return the first answer: this one of the first attempt, unless a hedge came before it."""
        self._first_runs = False
        self._take_back()
        self._answered(self._ctx, reply)
        return await self._result()

    async def first_failed(self, error: BaseException) -> Any:
        """Return a hedge's answer when the first attempt failed, or was interrupted for it; else raise the error."""
        self._first_runs = False
        interrupted = self._take_back() and isinstance(error, asyncio.CancelledError)
        if isinstance(error, CarrickError) and (self._decided or _may_be_outdone(error)):
            self._fail(error)
        elif not interrupted:
            await finish(self._abandon())
            raise error
        return await self._result()

    def _take_back(self) -> bool:
        """Take back the cancellation by which the caller's task was interrupted; say whether that was the only one."""
        return self._interrupted and self._caller.uncancel() <= self._cancelling

    async def _result(self) -> Any:
        """Return the first answer, or raise the last error. Nothing runs any more then."""
        try:
            while not self._decided and self._running:
                await asyncio.wait(self._running, return_when=asyncio.FIRST_COMPLETED)
            await finish(self._end())
        except BaseException:
            await finish(self._abandon())
            raise
        if self._error is not None:
            raise self._error
        return self._reply

    async def _timed(self, ctx: Context) -> Any:
        begun = self._clock.monotonic()
        try:
            return await self._service(self._request, ctx)
        finally:
            now = self._clock.monotonic()
            self._lateness.took(now, now - begun)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        """Take note of how a hedge ended."""
        self._running.discard(task)
        if task.cancelled():
            return
        error = task.exception()
        if error is None:
            self._answered(self._hedges[task], task.result())
        elif isinstance(error, CarrickError) and _may_be_outdone(error):
            self._fail(error)
        elif not self._decided:
            self._decided, self._error = True, error
        if self._decided and self._first_runs and not self._interrupted:
            self._interrupted = True
            self._caller.cancel()

    def _answered(self, ctx: Context, reply: Any) -> None:
        """Take the first answer; what comes after it, in the same turn of the event loop, is one too many."""
        if self._decided:
            self._spare.append(reply)
            return
        self._decided, self._reply, self._error = True, reply, None
        ctx.call.winner = ctx.attempt

    def _fail(self, error: CarrickError) -> None:
        """Note an outage: the last one is raised when nothing else comes, or the one that asks for no more attempts.

        One that was never sent is raised when there is no other: it says nothing, and may be tried again for nothing.
        """
        if not self._decided and not self._stopped and (self._error is None or _sent(error)):
            self._error = error
        asked = pushback(error.attempt.trailers) if error.attempt is not None else None
        self._stopped = self._stopped or (asked is not None and asked < 0)

    async def _end(self) -> None:
        """Cancel what still runs, wait until it has ended, and close what it was answered with meanwhile.

        No more are begun while that takes its time.
        """
        self._stopped = True
        for task in self._running:
            task.cancel()
        if self._running:
            await asyncio.wait(self._running)
        for reply in self._spare:
            await self._close(reply)

    async def _abandon(self) -> None:
        """End everything, the answer too: nobody gets it."""
        await self._end()
        await self._close(self._reply)

    async def _close(self, reply: Any) -> None:
        assert self._ctx.method is not None
        if self._ctx.method.streams_responses:  # one response may have a field called aclose
            await close(reply)


def _may_be_outdone(error: BaseException) -> bool:
    """Say whether another attempt's answer would be better than this error."""
    return isinstance(error, CarrickError) and error.code in OUTAGES


def _sent(error: CarrickError) -> bool:
    return error.attempt is None or error.attempt.sent


def _name(ctx: Context) -> str:
    assert ctx.method is not None
    return ctx.method.full_name
