"""Hedges: when they are begun, who wins, and that nothing of a loser is left."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from carrick import (
    AttemptKind,
    CarrickError,
    Code,
    Context,
    HedgeOptions,
    IdempotencyLevel,
    MethodKind,
    RemoteError,
    RetryBudgetOptions,
    Service,
)
from carrick.allowance import RetryAllowance
from carrick.observe import HedgeSent, RetryNotMade
from carrick.policy.budget import RetryBudget
from carrick.policy.hedge import hedge
from carrick.policy.lateness import Lateness
from carrick.policy.pushback import PUSHBACK
from carrick.policy.replay import keep_requests, read_kept
from carrick.service import stack
from carrick.testing import FakeClock
from tests.unit.calls import KEYED, PLAIN, REPEATABLE, REPLY, REQUEST, Seen, first_attempt, turns
from tests.unit.streams import Item, item, items, numbers, streaming

WATCH = streaming(MethodKind.SERVER_STREAM, idempotency=IdempotencyLevel.IDEMPOTENT)
UPLOAD = streaming(MethodKind.CLIENT_STREAM, idempotency=IdempotencyLevel.IDEMPOTENT)
NAME = "test.v1.Tests/Repeatable"


class Attempts:
    """A Service whose attempts wait until the test ends each of them."""

    def __init__(self) -> None:
        self.contexts: list[Context] = []
        self.ends: list[asyncio.Future[Any]] = []
        self.cancelled: list[int] = []

    async def __call__(self, request: Any, ctx: Context) -> Any:
        """Wait for the end of this attempt."""
        assert ctx.attempt is not None
        ctx.attempt.sent = True
        number = len(self.ends)
        self.contexts.append(ctx)
        self.ends.append(asyncio.get_running_loop().create_future())
        try:
            return await self.ends[number]
        except asyncio.CancelledError:
            self.cancelled.append(number)
            raise

    def answers(self, number: int, reply: Any = REPLY) -> None:
        """End an attempt with a reply."""
        self.ends[number].set_result(reply)

    def fails(self, number: int, code: Code, pushback: str | None = None) -> None:
        """End an attempt with a status."""
        attempt = self.contexts[number].attempt
        assert attempt is not None
        if pushback is not None:
            attempt.trailers = ((PUSHBACK, pushback),)
        self.ends[number].set_exception(RemoteError(code, f"attempt {number}", attempt=attempt))


class Hedged:
    """A hedged call in the making, whose second attempt is due after a second."""

    def __init__(
        self,
        *,
        max_hedges: int = 1,
        budget: RetryBudget | None = None,
        ctx: Context | None = None,
        service: Service | None = None,
    ) -> None:
        self.clock = FakeClock()
        self.seen = Seen()
        self.attempts = Attempts()
        options = HedgeOptions(delay=1.0, max_hedges=max_hedges)
        filtered = hedge(options, Lateness(options), budget=budget, clock=self.clock, observe=self.seen)
        self.ctx = ctx or first_attempt(REPEATABLE)
        self.call = asyncio.ensure_future(stack(service or self.attempts, filtered)(REQUEST, self.ctx))

    async def after(self, seconds: float) -> None:
        """Let time pass, and everything happen that then does."""
        await turns()
        self.clock.advance(seconds)
        await turns()


async def test_an_answer_in_time_is_not_hedged() -> None:
    """There is one attempt, in the caller's own task, and no timer is left."""
    tasks = len(asyncio.all_tasks())
    hedged = Hedged()
    await hedged.after(0.99)
    assert len(asyncio.all_tasks()) == tasks + 1
    hedged.attempts.answers(0)
    assert await hedged.call == REPLY
    await hedged.after(1)
    assert hedged.clock.timers == 0
    assert len(hedged.attempts.contexts) == 1
    assert hedged.seen.observations == []


async def test_calls_side_by_side_have_one_timer_and_are_late_one_after_the_other() -> None:
    """Each at its own time, though a call that was answered stands before it."""
    clock, attempts, seen = FakeClock(), Attempts(), Seen()
    options = HedgeOptions(delay=1.0)
    service = stack(attempts, hedge(options, Lateness(options), budget=None, clock=clock, observe=seen))
    calls = []
    for _ in range(3):
        calls.append(asyncio.ensure_future(service(REQUEST, first_attempt(REPEATABLE))))
        await turns()
        clock.advance(0.25)
    assert clock.timers == 1
    attempts.answers(0)
    await turns()
    clock.advance(0.49)
    await turns()
    assert len(attempts.contexts) == 3
    for expected in (4, 5):
        clock.advance(0.01 if expected == 4 else 0.25)
        await turns()
        assert len(attempts.contexts) == expected
    for number in (1, 2):
        attempts.answers(number)
    assert await asyncio.gather(*calls) == [REPLY] * 3
    clock.advance(1.0)
    assert clock.timers == 0


async def test_a_late_answer_is_asked_for_once_more() -> None:
    """The first answer wins, the other attempt is cancelled and has ended when the call returns."""
    hedged = Hedged()
    await hedged.after(1)
    assert [ctx.attempt and (ctx.attempt.number, ctx.attempt.kind) for ctx in hedged.attempts.contexts] == [
        (1, AttemptKind.FIRST),
        (2, AttemptKind.HEDGE),
    ]
    assert hedged.seen.observations == [HedgeSent(method=NAME, attempt=2, delay=1.0)]
    hedged.attempts.answers(1)
    assert await hedged.call == REPLY
    assert hedged.attempts.cancelled == [0]
    assert hedged.ctx.call.winner is hedged.attempts.contexts[1].attempt


async def test_the_first_attempt_may_still_win() -> None:
    """Then the hedge is cancelled."""
    hedged = Hedged()
    await hedged.after(1)
    hedged.attempts.answers(0)
    assert await hedged.call == REPLY
    assert hedged.attempts.cancelled == [1]
    assert hedged.ctx.call.winner is hedged.ctx.attempt


async def test_hedges_come_one_delay_after_the_other() -> None:
    """As many as the policy allows."""
    hedged = Hedged(max_hedges=2)
    for expected in (1, 2, 3, 3):
        await turns()
        assert len(hedged.attempts.contexts) == expected
        await hedged.after(1)
    hedged.attempts.answers(2)
    assert await hedged.call == REPLY
    assert hedged.attempts.cancelled == [1, 0] or hedged.attempts.cancelled == [0, 1]


@pytest.mark.parametrize(("first", "second"), [(0, 1), (1, 0)])
async def test_an_outage_is_outdone_by_an_answer(first: int, second: int) -> None:
    """An attempt that failed does not end the call while another one runs."""
    hedged = Hedged()
    await hedged.after(1)
    hedged.attempts.fails(first, Code.UNAVAILABLE)
    await turns()
    assert not hedged.call.done()
    hedged.attempts.answers(second)
    assert await hedged.call == REPLY
    assert hedged.attempts.cancelled == []


async def test_when_all_have_failed_the_last_error_is_raised() -> None:
    """Retry decides what comes of it."""
    hedged = Hedged()
    await hedged.after(1)
    hedged.attempts.fails(1, Code.UNAVAILABLE)
    await turns()
    hedged.attempts.fails(0, Code.INTERNAL)
    with pytest.raises(RemoteError, match="attempt 0"):
        await hedged.call


async def test_all_may_fail_at_once() -> None:
    """Two ends in one turn of the event loop are both heard."""
    hedged = Hedged()
    await hedged.after(1)
    hedged.attempts.fails(1, Code.UNAVAILABLE)
    hedged.attempts.fails(0, Code.INTERNAL)
    with pytest.raises(RemoteError):
        await hedged.call


@pytest.mark.parametrize("number", [0, 1])
async def test_an_error_that_is_an_answer_ends_the_call(number: int) -> None:
    """What the peer says of the request it would say again."""
    hedged = Hedged()
    await hedged.after(1)
    hedged.attempts.fails(number, Code.NOT_FOUND)
    with pytest.raises(RemoteError, match=f"attempt {number}"):
        await hedged.call
    assert hedged.attempts.cancelled == [1 - number]


async def test_a_failure_before_the_hedge_ends_the_call_at_once() -> None:
    """It is for retry to wait and try again; no hedge comes after."""
    hedged = Hedged()
    await turns()
    hedged.attempts.fails(0, Code.UNAVAILABLE)
    with pytest.raises(RemoteError):
        await hedged.call
    await hedged.after(5)
    assert len(hedged.attempts.contexts) == 1


async def test_a_server_may_ask_for_no_more_attempts() -> None:
    """A negative pushback stops hedges that were not begun (gRPC proposal A6)."""
    hedged = Hedged(max_hedges=3)
    await hedged.after(1)
    hedged.attempts.fails(0, Code.UNAVAILABLE, pushback="-1")
    await hedged.after(5)
    assert len(hedged.attempts.contexts) == 2
    hedged.attempts.answers(1)
    assert await hedged.call == REPLY


async def test_an_error_that_asks_for_no_retry_is_the_one_that_is_raised() -> None:
    """Another one after it does not hide what the server asked for from retry."""
    hedged = Hedged()
    await hedged.after(1)
    hedged.attempts.fails(0, Code.UNAVAILABLE, pushback="-1")
    await turns()
    hedged.attempts.fails(1, Code.UNAVAILABLE)
    with pytest.raises(RemoteError, match="attempt 0"):
        await hedged.call


async def test_a_hedge_that_was_never_sent_does_not_hide_an_outage() -> None:
    """Retry would else take the whole call for one that was never sent, and repeat it for nothing."""
    hedged = Hedged()
    await hedged.after(1)
    hedged.attempts.fails(0, Code.UNAVAILABLE)
    await turns()
    unsent = hedged.attempts.contexts[1].attempt
    assert unsent is not None
    unsent.sent = False
    hedged.attempts.fails(1, Code.UNAVAILABLE)
    with pytest.raises(RemoteError, match="attempt 0"):
        await hedged.call


async def test_no_hedge_is_begun_while_the_others_are_being_cancelled() -> None:
    """Nothing runs on after a cancelled call, however long its attempts take to end."""
    begun, ended, go_on = [], [], asyncio.Event()

    async def slow_to_end(request: Any, ctx: Context) -> Any:
        begun.append(ctx)
        try:
            await asyncio.Event().wait()
        finally:
            if len(begun) > 1 and ctx is begun[1]:
                await go_on.wait()
            ended.append(ctx)

    hedged = Hedged(max_hedges=2, service=slow_to_end)
    await hedged.after(1)
    hedged.call.cancel()
    await hedged.after(1)
    go_on.set()
    await asyncio.wait((hedged.call,))
    assert len(begun) == len(ended) == 2


@pytest.mark.parametrize("code", [None, Code.UNAVAILABLE, Code.NOT_FOUND])
async def test_a_hedge_may_end_while_the_first_attempt_is_being_cancelled(code: Code | None) -> None:
    """It comes after the winner, and disturbs neither it nor the event loop."""
    attempts, go_on, complaints = Attempts(), asyncio.Event(), list[Any]()

    async def slow_to_end(request: Any, ctx: Context) -> Any:
        try:
            return await attempts(request, ctx)
        except asyncio.CancelledError:
            await go_on.wait()
            raise

    asyncio.get_running_loop().set_exception_handler(lambda loop, complaint: complaints.append(complaint))
    hedged = Hedged(max_hedges=2, service=slow_to_end)
    await hedged.after(1)
    await hedged.after(1)
    attempts.answers(1)
    await turns()
    attempts.answers(2) if code is None else attempts.fails(2, code)
    await turns()
    go_on.set()
    assert await hedged.call == REPLY
    assert hedged.ctx.call.winner is attempts.contexts[1].attempt
    assert complaints == []


async def test_an_answer_that_comes_with_the_interruption_is_one_too_many() -> None:
    """A hedge has won by then, also where the first attempt ends with a status and not with its cancellation."""
    attempts = Attempts()

    async def ending_with_a_status(request: Any, ctx: Context) -> Any:
        try:
            return await attempts(request, ctx)
        except asyncio.CancelledError:
            raise RemoteError(Code.NOT_FOUND, "too late", attempt=ctx.attempt) from None

    hedged = Hedged(service=ending_with_a_status)
    await hedged.after(1)
    attempts.answers(1)
    assert await hedged.call == REPLY
    assert hedged.ctx.call.winner is attempts.contexts[1].attempt


@pytest.mark.parametrize("of", [PLAIN, KEYED])
async def test_what_must_not_be_executed_twice_is_not_hedged(of: Any) -> None:
    """Neither a method without idempotency, nor a call without its key."""
    hedged = Hedged(ctx=first_attempt(of))
    await hedged.after(5)
    assert len(hedged.attempts.contexts) == 1
    hedged.attempts.answers(0)
    assert await hedged.call == REPLY


async def test_a_keyed_call_is_hedged_under_its_key() -> None:
    """The server executes it once, whichever attempt comes first."""
    hedged = Hedged(ctx=first_attempt(KEYED, key="k"))
    await hedged.after(1)
    assert [ctx.key for ctx in hedged.attempts.contexts] == ["k", "k"]
    hedged.attempts.answers(0)
    await hedged.call


async def test_hedges_draw_on_the_budget() -> None:
    """Without it the call waits for its first attempt, and an observer hears why."""
    budget = RetryBudget(RetryBudgetOptions(ratio=0.0, per_second=0.1))
    hedged = Hedged(max_hedges=2, budget=budget)
    await hedged.after(1)
    await hedged.after(1)
    assert len(hedged.attempts.contexts) == 2
    assert hedged.seen.observations[-1] == RetryNotMade(
        method=NAME, attempt=2, kind="hedge", reason="the retry budget is spent: 1 retries and hedges beside 0 calls"
    )
    hedged.attempts.answers(0)
    await hedged.call


async def test_hedges_draw_on_what_the_calls_above_allow() -> None:
    """One retry is left to the call tree: there is one hedge."""
    ctx = first_attempt(REPEATABLE)
    ctx.call.allowance = RetryAllowance(1, inherited=True)
    hedged = Hedged(max_hedges=2, ctx=ctx)
    await hedged.after(1)
    await hedged.after(1)
    assert len(hedged.attempts.contexts) == 2
    assert ctx.call.allowance.left == 0
    hedged.attempts.answers(0)
    await hedged.call


@pytest.mark.parametrize("seconds", [0.5, 1.5])
async def test_cancelling_cancels_every_attempt(seconds: float) -> None:
    """All have ended when the caller goes on, and no hedge is begun after."""
    hedged = Hedged(max_hedges=2)
    await hedged.after(seconds)
    begun = len(hedged.attempts.contexts)
    hedged.call.cancel()
    await asyncio.wait((hedged.call,))
    assert hedged.call.cancelled()
    assert sorted(hedged.attempts.cancelled) == list(range(begun))
    await hedged.after(5)
    assert len(hedged.attempts.contexts) == begun


async def test_a_cancellation_that_meets_an_answer_is_not_lost() -> None:
    """A caller who is cancelled in the moment in which a hedge wins is cancelled."""
    hedged = Hedged()
    await hedged.after(1)
    hedged.attempts.answers(1)
    hedged.call.cancel()
    await asyncio.wait((hedged.call,))
    assert hedged.call.cancelled()


async def test_a_timeout_of_the_callers_is_its_own() -> None:
    """``asyncio.timeout`` around a hedged call works, also once a hedge runs."""
    hedged = Hedged()
    await hedged.after(1)

    async def bounded() -> None:
        async with asyncio.timeout(0):
            await hedged.call

    with pytest.raises(TimeoutError):
        await bounded()
    assert hedged.call.cancelled()


async def test_a_timeout_error_of_the_service_is_no_interruption() -> None:
    """It is what the service raised, and is raised."""

    async def failing(request: Any, ctx: Context) -> Any:
        raise TimeoutError("mine")

    with pytest.raises(TimeoutError, match="mine"):
        await Hedged(service=failing).call


class Closing:
    """A stream that says when it was closed."""

    def __init__(self) -> None:
        self.closed = False

    def __aiter__(self) -> AsyncIterator[Item]:
        return self

    async def __anext__(self) -> Item:
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """Close."""
        self.closed = True


async def test_the_stream_of_a_loser_is_closed() -> None:
    """Where two attempts have a first response at once, one stream is taken and the other closed."""
    hedged = Hedged(ctx=first_attempt(WATCH))
    await hedged.after(1)
    streams = [Closing(), Closing()]
    hedged.attempts.answers(0, streams[0])
    hedged.attempts.answers(1, streams[1])
    taken = await hedged.call
    assert [stream.closed for stream in streams] == [stream is not taken for stream in streams]


async def test_the_stream_of_a_winner_is_closed_when_the_caller_is_gone() -> None:
    """A caller that is cancelled while the losers end never gets the answer."""
    hedged = Hedged(ctx=first_attempt(WATCH))
    await hedged.after(1)
    stream = Closing()
    hedged.attempts.answers(1, stream)
    await asyncio.sleep(0)
    hedged.call.cancel()
    await asyncio.wait((hedged.call,))
    assert hedged.call.cancelled()
    assert stream.closed


async def test_each_attempt_sends_all_requests() -> None:
    """Two attempts read the requests side by side, the late one from the first on; the source is read once."""
    clock, sent = FakeClock(), dict[int, list[int]]()
    late = asyncio.Event()

    async def upload(requests: Any, ctx: Context) -> Any:
        assert ctx.attempt is not None
        sent[ctx.attempt.number] = await numbers(requests)
        if ctx.attempt.number == 1:
            await late.wait()
        return item(99)

    options = HedgeOptions(delay=1.0)
    service = stack(
        upload,
        keep_requests(10_000),
        hedge(options, Lateness(options), budget=None, clock=clock, observe=Seen()),
        read_kept,
    )
    call = asyncio.ensure_future(service(items(5), first_attempt(UPLOAD)))
    await turns()
    clock.advance(1)
    assert (await call).total == 99
    assert sent == {1: [0, 1, 2, 3, 4], 2: [0, 1, 2, 3, 4]}


async def test_requests_that_are_too_many_to_keep_are_not_hedged() -> None:
    """A second attempt could not send them all."""
    clock, seen, answer = FakeClock(), Seen(), asyncio.Event()

    async def upload(requests: Any, ctx: Context) -> Any:
        await numbers(requests)
        await answer.wait()
        return item(99)

    options = HedgeOptions(delay=1.0)
    service = stack(
        upload,
        keep_requests(3),
        hedge(options, Lateness(options), budget=None, clock=clock, observe=seen),
        read_kept,
    )
    call = asyncio.ensure_future(service(items(20), first_attempt(UPLOAD)))
    await turns()
    await turns()
    await turns()
    clock.advance(1)
    answer.set()
    assert (await call).total == 99
    assert seen.names == ["RetryNotMade"]


async def test_the_delay_follows_the_latest_answers() -> None:
    """Until there are enough of them, no call is late; an attempt that lost counts with the time that it was given."""
    options = HedgeOptions(quantile=0.5, min_calls=3, window=10.0)
    lateness, clock = Lateness(options), FakeClock()

    async def slow(request: Any, ctx: Context) -> Any:
        await clock.sleep(2.0)
        return REPLY

    service = stack(slow, hedge(options, lateness, budget=None, clock=clock, observe=Seen()))
    for _ in range(3):
        assert lateness.delay(clock.monotonic()) is None
        call = asyncio.ensure_future(service(REQUEST, first_attempt(REPEATABLE)))
        await turns()
        clock.advance(2.0)
        await call
    delay = lateness.delay(clock.monotonic())
    assert delay == pytest.approx(2.05, rel=0.05)


async def test_errors_that_are_not_ours_pass() -> None:
    """A fault in the program ends the call."""

    async def failing(request: Any, ctx: Context) -> Any:
        raise KeyError("bug")

    hedged = Hedged(service=failing)
    with pytest.raises(KeyError):
        await hedged.call
    assert not isinstance(hedged.call.exception(), CarrickError)


async def test_a_first_attempt_that_does_not_let_itself_be_interrupted() -> None:
    """What it answers at last is one too many, and the caller's task is not left cancelled."""
    calls, interrupted = 0, False

    async def stubborn(request: Any, ctx: Context) -> Any:
        nonlocal calls, interrupted
        calls += 1
        if calls == 2:
            return REPLY
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            interrupted = True
        return None

    clock = FakeClock()
    options = HedgeOptions(delay=1.0)
    service = stack(stubborn, hedge(options, Lateness(options), budget=None, clock=clock, observe=Seen()))

    async def call() -> Any:
        reply = await service(REQUEST, first_attempt(REPEATABLE))
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0
        await asyncio.sleep(0)
        return reply

    calling = asyncio.ensure_future(call())
    await turns()
    clock.advance(1)
    assert await calling == REPLY
    assert interrupted
