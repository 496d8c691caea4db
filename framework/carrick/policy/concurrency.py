"""A limit of the calls under way, with a bounded queue in front of it: on a client a bulkhead, on a server shedding."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from enum import Enum
from typing import Any

from carrick.clock import Clock
from carrick.context import Context
from carrick.errors import CarrickError, Code, DeadlineError, RejectedError
from carrick.method import MethodKind
from carrick.observe import LimitReached, Observer
from carrick.options import OUTAGES, OVERLOAD, ConcurrencyOptions, Priority
from carrick.policy.gradient import GradientLimit
from carrick.service import Filter, Service
from carrick.stream import Concluding

__all__ = [
    "ConcurrencyState",
    "Held",
    "Outcome",
    "Refusal",
    "Waiter",
    "concurrency",
    "concurrency_state",
    "hold",
    "outcome_of",
    "turn",
]

_CRITICAL, _DEFAULT = Priority.CRITICAL, Priority.DEFAULT  # looking them up in the Enum costs more than the comparison
_UNARY = MethodKind.UNARY
_LEARNING = 0.1
_NEARLY = 0.1


class Refusal(Enum):
    """Why a call gets no place, in the words of ``CallShed``."""

    LIMIT = "limit"
    """All places are taken, and there is no queue."""
    QUEUE = "queue"
    """All places are taken, and so are those in the queue."""
    TIME = "queue_time"
    """Its turn would come too late, or did not come in time."""


class Outcome(Enum):
    """What a call's end says of how much the service bears."""

    ANSWERED = "answered"
    DROPPED = "dropped"
    """It timed out, or was refused as too much."""
    SILENT = "silent"
    """Nothing: it was cancelled, or failed for reasons of its own, or its time is not the service's."""


_ANSWERED, _SILENT = Outcome.ANSWERED, Outcome.SILENT
_WHY = {
    Refusal.LIMIT: "and none may wait",
    Refusal.QUEUE: "and no more may wait",
    Refusal.TIME: "and its turn would come too late",
}


class Waiter:
    """A call in the queue: it gets a place, or is refused, or leaves."""

    __slots__ = ("admitted", "displaced", "expires", "rank", "refusal", "woken")

    def __init__(self, rank: int, expires: float | None) -> None:
        self.rank = rank
        self.expires = expires
        """When it leaves without a place."""
        self.admitted = False
        self.refusal: Refusal | None = None
        self.displaced: Waiter | None = None
        """The less important call that was refused to make room in the queue for this one."""
        self.woken: Callable[[], None] | None = None
        """How :meth:`wake` tells who waits; set by who waits."""

    def wake(self) -> None:
        """Tell who waits that it has been decided."""
        if self.woken is not None:
            self.woken()


class ConcurrencyState:
    """Who gets a place, who waits for one, and who is refused. Pure: time comes in with each call. For one event loop.

    Calls that wait get places in the order of their priority, then of their coming. ``shares`` are what critical,
    default and sheddable calls may use of the limit, in per cent, one place at least. A call is refused at once when
    its turn would come too late: its position in the queue times how long places are held on average (exponentially
    weighted), over the limit. Where the queue is full, the last of the least important waiters makes room for a more
    important call.

    A place is handed back with one :meth:`released`, or, by a waiter who was cancelled when it had just been given one,
    with one :meth:`left`. Both return the waiters that were decided on: wake them.
    """

    __slots__ = (
        "_adaptive",
        "_held",
        "_max_queue_time",
        "_max_queued",
        "_queues",
        "_shares",
        "_waiting",
        "caps",
        "in_flight",
        "limit",
    )

    def __init__(
        self,
        limit: int,
        *,
        max_queued: int = 0,
        max_queue_time: float | None = None,
        shares: tuple[int, int, int] = (100, 100, 100),
        adaptive: GradientLimit | None = None,
    ) -> None:
        self._max_queued = max_queued
        self._max_queue_time = max_queue_time
        self._shares = shares
        self._adaptive = adaptive
        self._queues: tuple[OrderedDict[Waiter, None], ...] = (OrderedDict(), OrderedDict(), OrderedDict())
        self._waiting = 0
        self._held: float | None = None
        self.in_flight = 0
        """Places taken."""
        self.limit = limit
        """Places there are."""
        self.caps = (limit, limit, limit)
        """The places that critical, default and sheddable calls may use."""
        self._set(limit)

    @property
    def queued(self) -> int:
        """Calls that wait."""
        return self._waiting

    @property
    def held(self) -> float:
        """Seconds that a place is held, on average; 0 before the first was handed back."""
        return self._held or 0.0

    def acquire(self, now: float, deadline: float | None, priority: Priority | None) -> Waiter | Refusal | None:
        """Return None for a place, a Waiter for one in the queue, or why there is neither."""
        rank = 1 if priority is None or priority is _DEFAULT else 0 if priority is _CRITICAL else 2
        if self.in_flight < self.caps[rank]:  # then nobody waits who could have this place: it would have got it
            self.in_flight += 1
            return None
        if self._adaptive is not None:
            self._adaptive.refused()
        return self._queue(now, deadline, rank) if self._max_queued else Refusal.LIMIT

    def released(self, now: float, began: float, outcome: Outcome) -> Sequence[Waiter]:
        """Take back a place that was held since ``began``; return the waiters who now have one, or are too late."""
        held = now - began
        self._held = held if self._held is None else self._held + (held - self._held) * _LEARNING
        adaptive = self._adaptive
        if adaptive is not None and outcome is not _SILENT:
            count = adaptive.answered if outcome is _ANSWERED else adaptive.dropped
            if count(now, began, self.in_flight):
                self._set(adaptive.limit)
        self.in_flight -= 1
        return self._hand_out(now) if self._waiting else ()

    def left(self, waiter: Waiter, now: float) -> Sequence[Waiter]:
        """Take a waiter out of the queue whose time is over, or who was cancelled; return as :meth:`released` does.

        One that was given a place meanwhile, and will not use it, hands that back.
        """
        if waiter.admitted:
            waiter.admitted = False
            self.in_flight -= 1
            return self._hand_out(now) if self._waiting else ()
        queue = self._queues[waiter.rank]
        if waiter in queue:
            del queue[waiter]
            self._waiting -= 1
        return ()

    def _queue(self, now: float, deadline: float | None, rank: int) -> Waiter | Refusal:
        expires = deadline
        if self._max_queue_time is not None:
            patience = now + self._max_queue_time
            expires = patience if deadline is None or patience < deadline else deadline
        if expires is not None and now + self._turn(rank) >= expires:
            return Refusal.TIME
        waiter = Waiter(rank, expires)
        if self._waiting >= self._max_queued:
            waiter.displaced = self._displace(rank)
            if waiter.displaced is None:
                return Refusal.QUEUE
        self._queues[rank][waiter] = None
        self._waiting += 1
        return waiter

    def _turn(self, rank: int) -> float:
        """Return after how many seconds the next of that rank gets its turn, if all goes on as it did."""
        position = 1 + sum(len(queue) for queue in self._queues[: rank + 1])
        return position * self.held / self.caps[rank]

    def _displace(self, rank: int) -> Waiter | None:
        """Refuse the last of the least important waiters who are less important than ``rank``."""
        for queue in reversed(self._queues[rank + 1 :]):
            if queue:
                waiter, _ = queue.popitem()
                self._waiting -= 1
                waiter.refusal = Refusal.QUEUE
                return waiter
        return None

    def _hand_out(self, now: float) -> list[Waiter]:
        """Give free places to who waits: the most important first, then who came first. Not to those who are late."""
        decided = []
        for queue, cap in zip(self._queues, self.caps, strict=True):
            while queue and self.in_flight < cap:
                waiter, _ = queue.popitem(last=False)
                self._waiting -= 1
                if waiter.expires is not None and waiter.expires <= now:
                    waiter.refusal = Refusal.TIME
                else:
                    waiter.admitted = True
                    self.in_flight += 1
                decided.append(waiter)
        return decided

    def _set(self, limit: int) -> None:
        self.limit = limit
        critical, default, sheddable = (max(1, limit * share // 100) for share in self._shares)
        self.caps = (critical, default, sheddable)


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


Held = Callable[[Any, Context, Service, float], Awaitable[Any]]
"""Calls a service with a request, in a context, with a place that is held since a time."""


def hold(state: ConcurrencyState, clock: Clock) -> Held:
    """Return what calls a service with a place held since a time, and hands it back at the end of the call.

    A stream of responses holds its place until its own end. Only unary calls move an adaptive limit: how long a stream
    takes is not the service's doing alone.
    """
    monotonic = clock.monotonic

    def give_back(began: float, outcome: Outcome) -> None:
        for waiter in state.released(monotonic(), began, outcome):
            waiter.wake()

    async def held(request: Any, ctx: Context, service: Service, began: float) -> Any:
        method = ctx.method
        assert method is not None
        try:
            reply = await service(request, ctx)
        except BaseException as error:
            unary = method.kind is _UNARY
            give_back(began, outcome_of(error, ctx, monotonic(), began) if unary else Outcome.SILENT)
            raise
        if method.streams_responses:
            return Concluding(reply, lambda error: give_back(began, Outcome.SILENT))
        for waiter in state.released(monotonic(), began, _ANSWERED if method.kind is _UNARY else _SILENT):
            waiter.wake()
        return reply

    return held


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
    monotonic = clock.monotonic
    held = hold(state, clock)

    async def limited(request: Any, ctx: Context, service: Service) -> Any:
        attempt = ctx.attempt
        deadline = ctx.deadline if attempt is None or attempt.deadline is None else attempt.deadline
        began = monotonic()
        verdict = state.acquire(began, deadline, ctx.priority)
        if verdict is not None:
            refusal = await turn(state, verdict, clock) if isinstance(verdict, Waiter) else verdict
            began = monotonic()
            if refusal is not None:
                raise refused(refusal, ctx, began)
        return await held(request, ctx, service, began)

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

    return limited
