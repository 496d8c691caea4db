import asyncio
import sys
from collections.abc import AsyncIterator

import pytest

from carrick import (
    Attempt,
    AttemptKind,
    CarrickError,
    Code,
    Context,
    DeadlineError,
    IdempotencyLevel,
    Metadata,
    MethodKind,
    RejectedError,
    RetryBudgetOptions,
    RetryOptions,
)
from carrick.allowance import RETRIES_LEFT, RetryAllowance
from carrick.observe import RetryNotMade, RetryScheduled
from carrick.policy.budget import RetryBudget
from carrick.policy.pushback import PUSHBACK, pushback
from carrick.policy.replay import keep_requests, read_kept
from carrick.policy.retry import RetryPlan, RetryRefused, retry
from carrick.service import Filter, Service, stack
from carrick.testing import FakeClock
from tests.unit.calls import (
    KEYED,
    PLAIN,
    REPEATABLE,
    REPLY,
    REQUEST,
    Hanging,
    Scripted,
    Seen,
    first_attempt,
    fixed,
    half,
    rejected,
)
from tests.unit.streams import Item, item, items, numbers, streaming

_OPTIONS = RetryOptions(max_attempts=4, initial_backoff=0.1, max_backoff=0.35, multiplier=2.0)


def _attempt(number: int = 1, *, sent: bool = True, trailers: Metadata = (), deadline: float | None = None) -> Attempt:
    attempt = Attempt(number, AttemptKind.FIRST)
    attempt.sent = sent
    attempt.deadline = deadline
    attempt.trailers = trailers
    return attempt


def _after(
    error: Code | CarrickError = Code.UNAVAILABLE,
    attempt: Attempt | None = None,
    *,
    repeatable: bool = True,
    remaining: float | None = None,
    uniform: float = 1.0,
    elsewhere: bool = False,
) -> float | RetryRefused:
    attempt = attempt or _attempt()
    return RetryPlan(_OPTIONS, fixed(uniform)).after(
        error if isinstance(error, CarrickError) else CarrickError(error, "as told"),
        attempt,
        number=attempt.number,
        repeatable=repeatable,
        remaining=remaining,
        elsewhere=elsewhere,
    )


@pytest.mark.parametrize(("number", "bound"), [(1, 0.1), (2, 0.2), (3, 0.35)])
@pytest.mark.parametrize("uniform", [0.0, 0.25, 1.0])
def test_the_wait_is_a_share_of_a_growing_bound(number: int, bound: float, uniform: float) -> None:
    """Full jitter: from nothing up to the bound, which doubles until it is the greatest."""
    assert _after(attempt=_attempt(number), uniform=uniform) == pytest.approx(bound * uniform)


def test_the_bound_does_not_overflow() -> None:
    """A late attempt with a large multiplier waits for the greatest time."""
    plan = RetryPlan(RetryOptions(max_attempts=100, multiplier=1e10, max_backoff=2.0), fixed(1.0))

    error = CarrickError(Code.UNAVAILABLE, "as told")
    assert plan.after(error, _attempt(99), number=99, repeatable=True, remaining=None) == 2.0


@pytest.mark.parametrize("code", set(Code) - {Code.OK})
def test_only_the_given_codes_are_retried(code: Code) -> None:
    """By default UNAVAILABLE and ABORTED may pass, nothing else."""
    outcome = _after(code)

    if code in (Code.UNAVAILABLE, Code.ABORTED):
        assert outcome == 0.1
    else:
        assert outcome == RetryRefused(f"{code.name} is not retried", answer=True)


@pytest.mark.parametrize(
    ("sent", "repeatable", "retried"),
    [(True, True, True), (False, True, True), (False, False, True), (True, False, False)],
)
def test_what_may_have_been_executed_is_repeated_only_if_safe(sent: bool, repeatable: bool, retried: bool) -> None:
    """A call is repeated when it was never sent, or when repeating it does no harm."""
    outcome = _after(attempt=_attempt(sent=sent), repeatable=repeatable)

    assert isinstance(outcome, float) is retried
    if isinstance(outcome, RetryRefused):
        assert outcome.reason.startswith("it may have been executed")
        assert not outcome.out_of_time


@pytest.mark.parametrize(("number", "retried"), [(3, True), (4, False), (5, False)])
def test_attempts_come_to_an_end(number: int, retried: bool) -> None:
    """The first attempt counts: four attempts are three retries."""
    outcome = _after(attempt=_attempt(number))

    assert isinstance(outcome, float) is retried
    assert retried or outcome == RetryRefused("all attempts were made")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("0", 0.0),
        ("250", 0.25),
        ("5000", 5.0),
        ("-1", RetryRefused("the server asked for no retry")),
        ("soon", RetryRefused("the server asked for no retry")),
        ("", RetryRefused("the server asked for no retry")),
        ("1.5", RetryRefused("the server asked for no retry")),
        ("9" * 400, RetryRefused("the server asked for no retry")),
        ("9" * 5000, RetryRefused("the server asked for no retry")),
    ],
)
def test_pushback_is_obeyed(value: str, expected: float | RetryRefused) -> None:
    """A server's wait takes the place of ours, without jitter; a negative one or nonsense forbids the retry."""
    assert _after(attempt=_attempt(trailers=((PUSHBACK, value),)), uniform=0.5) == expected


def test_pushback_gives_no_more_attempts() -> None:
    """A server cannot ask for more tries than the policy allows, nor for unsafe ones."""
    trailers: Metadata = ((PUSHBACK, "0"),)

    assert isinstance(_after(attempt=_attempt(4, trailers=trailers)), RetryRefused)
    assert isinstance(_after(attempt=_attempt(trailers=trailers), repeatable=False), RetryRefused)
    assert isinstance(_after(Code.INTERNAL, _attempt(trailers=trailers)), RetryRefused)


@pytest.mark.parametrize(
    ("trailers", "expected"),
    [
        ((), None),
        ((("other", "1"),), None),
        (((PUSHBACK, "20"), (PUSHBACK, "30")), 0.02),
        (((PUSHBACK, "2147483647"),), 2147483.647),
        (((PUSHBACK, "2147483648"),), -1.0),
        (((PUSHBACK, "-9"),), -0.009),
    ],
)
def test_pushback_is_read_from_the_trailers(trailers: Metadata, expected: float | None) -> None:
    """The first value counts; without one the server asks nothing. Nobody waits for years."""
    assert pushback(trailers) == expected


@pytest.mark.parametrize(
    ("remaining", "in_time"), [(None, True), (0.11, True), (0.1, False), (0.0, False), (-1, False)]
)
def test_a_wait_must_end_before_the_deadline(remaining: float | None, in_time: bool) -> None:
    """No time is spent waiting for an attempt that could not be made."""
    outcome = _after(remaining=remaining)

    assert isinstance(outcome, float) is in_time
    assert in_time or (isinstance(outcome, RetryRefused) and outcome.out_of_time)


def test_a_pushback_beyond_the_deadline_is_out_of_time() -> None:
    """A server that asks for more time than there is ends the call now."""
    outcome = _after(attempt=_attempt(trailers=((PUSHBACK, "5000"),)), remaining=4.9)

    assert isinstance(outcome, RetryRefused)
    assert outcome.out_of_time


@pytest.mark.parametrize(
    ("error", "attempt", "retried"),
    [
        (DeadlineError("late"), _attempt(), False),
        (DeadlineError("late"), _attempt(deadline=1.0), True),
        (CarrickError(Code.RESOURCE_EXHAUSTED, "shed"), _attempt(), False),
        (CarrickError(Code.RESOURCE_EXHAUSTED, "shed"), _attempt(trailers=((PUSHBACK, "20"),)), True),
        (RejectedError(Code.RESOURCE_EXHAUSTED, "full"), _attempt(sent=False), True),
        (RejectedError(Code.RESOURCE_EXHAUSTED, "full"), _attempt(), False),
    ],
)
def test_what_is_retried_whatever_the_codes(error: CarrickError, attempt: Attempt, retried: bool) -> None:
    """An attempt that ran out of its own time, one refused with the time to come back, and one refused here unsent."""
    assert isinstance(_after(error, attempt), float) is retried


@pytest.mark.parametrize(("sent", "elsewhere", "delay"), [(False, True, 0.0), (False, False, 0.1), (True, True, 0.1)])
def test_what_was_never_sent_goes_to_another_endpoint_at_once(sent: bool, elsewhere: bool, delay: float) -> None:
    """There is nothing to wait for: the other endpoint has refused nothing yet."""
    assert _after(attempt=_attempt(sent=sent), elsewhere=elsewhere) == delay


def _retry(
    options: RetryOptions = _OPTIONS,
    *,
    clock: FakeClock,
    seen: Seen | None = None,
    budget: RetryBudget | None = None,
) -> Filter:
    return retry(options, budget=budget, clock=clock, uniform=half, observe=seen or Seen())


def _stack(service: Service, clock: FakeClock, seen: Seen | None = None, budget: RetryBudget | None = None) -> Service:
    return stack(service, _retry(clock=clock, seen=seen, budget=budget))


async def test_a_success_is_returned_at_once() -> None:
    """Without a failure there is one attempt, no wait and no observation."""
    clock, endpoint, seen = FakeClock(), Scripted(), Seen()

    assert await _stack(endpoint, clock, seen)(REQUEST, first_attempt(REPEATABLE)) == REPLY
    assert (endpoint.calls, clock.slept, seen.observations) == (1, [], [])


async def test_each_try_is_a_new_attempt() -> None:
    """Retries share call, key and deadline, and each has an attempt that knows its number."""
    clock = FakeClock(autojump=True)
    endpoint = Scripted(Code.UNAVAILABLE, Code.ABORTED, Code.OK)
    ctx = first_attempt(KEYED, key="k", deadline=clock.monotonic() + 10)

    assert await _stack(endpoint, clock)(REQUEST, ctx) == REPLY

    attempts = [each.attempt for each in endpoint.contexts]
    assert attempts == ctx.call.attempts
    assert [(each.number, each.kind) for each in ctx.call.attempts] == [
        (1, AttemptKind.FIRST),
        (2, AttemptKind.RETRY),
        (3, AttemptKind.RETRY),
    ]
    assert {(each.key, each.deadline, each.correlation_id) for each in endpoint.contexts} == {
        ("k", ctx.deadline, "corr")
    }
    assert ctx.call.winner is attempts[-1]
    assert clock.slept == [pytest.approx(0.05), pytest.approx(0.1)]


async def test_each_retry_is_observed() -> None:
    """An observer hears which attempt failed, how, and how long the wait is."""
    seen = Seen()
    service = _stack(Scripted(Code.UNAVAILABLE, Code.ABORTED, Code.OK), FakeClock(autojump=True), seen)
    await service(REQUEST, first_attempt(REPEATABLE))

    assert seen.observations == [
        RetryScheduled(method="test.v1.Tests/Repeatable", attempt=1, code="UNAVAILABLE", delay=0.05),
        RetryScheduled(method="test.v1.Tests/Repeatable", attempt=2, code="ABORTED", delay=0.1),
    ]


async def test_the_last_error_is_raised() -> None:
    """When all attempts failed, the caller hears how the last one did."""
    last = CarrickError(Code.UNAVAILABLE, "the last one")
    endpoint = Scripted(rejected("1"), rejected("2"), rejected("3"), last)

    with pytest.raises(CarrickError) as caught:
        await _stack(endpoint, FakeClock(autojump=True))(REQUEST, first_attempt())

    assert caught.value is last
    assert endpoint.calls == 4


async def test_a_call_that_was_never_sent_is_repeated_whatever_the_contract_says() -> None:
    """What was certainly not executed can be tried again."""
    endpoint = Scripted(rejected(), Code.OK)

    assert await _stack(endpoint, FakeClock(autojump=True))(REQUEST, first_attempt(PLAIN)) == REPLY


async def test_a_call_that_was_sent_is_not_repeated_unless_the_contract_says_so() -> None:
    """Nothing is executed twice by guessing."""
    endpoint = Scripted(Code.UNAVAILABLE, Code.OK)

    with pytest.raises(CarrickError, match="as told"):
        await _stack(endpoint, FakeClock(autojump=True))(REQUEST, first_attempt(PLAIN))
    assert endpoint.calls == 1


@pytest.mark.parametrize(("key", "calls"), [("k", 2), (None, 1)])
async def test_a_keyed_method_is_repeated_with_its_key_only(key: str | None, calls: int) -> None:
    """The key is what makes the repetition safe; a call without one is not repeated."""
    endpoint = Scripted(Code.UNAVAILABLE)
    service = stack(endpoint, _retry(RetryOptions(max_attempts=2), clock=FakeClock(autojump=True)))

    with pytest.raises(CarrickError):
        await service(REQUEST, first_attempt(KEYED, key=key))
    assert endpoint.calls == calls


async def test_a_sent_attempt_after_an_unsent_one_ends_the_call() -> None:
    """Each attempt is judged by itself: the first was not sent, the second may have been executed."""
    endpoint = Scripted(rejected(), Code.UNAVAILABLE, Code.OK)

    with pytest.raises(CarrickError, match="as told"):
        await _stack(endpoint, FakeClock(autojump=True))(REQUEST, first_attempt(PLAIN))
    assert endpoint.calls == 2


async def test_out_of_time_is_a_deadline_error_from_the_last_error() -> None:
    """When the wait would outlast the deadline, the call ends now and tells both reasons."""
    clock = FakeClock(autojump=True)
    endpoint = Scripted(Code.UNAVAILABLE)
    ctx = first_attempt(REPEATABLE, deadline=clock.monotonic() + 0.12)

    with pytest.raises(DeadlineError, match=r"no time for another attempt after attempt 2: UNAVAILABLE") as caught:
        await _stack(endpoint, clock)(REQUEST, ctx)

    assert isinstance(caught.value.__cause__, CarrickError)
    assert caught.value.__cause__.code is Code.UNAVAILABLE
    assert caught.value.attempt is ctx.call.attempts[-1]
    assert clock.slept == [0.05]


async def test_a_deadline_that_passes_in_the_wait_is_from_the_last_error_too() -> None:
    """A wait may last longer than it was to, where the event loop lags: then no attempt is begun."""
    clock, endpoint = FakeClock(), Scripted(Code.UNAVAILABLE)
    ctx = first_attempt(REPEATABLE, deadline=clock.monotonic() + 0.12)
    call = asyncio.ensure_future(_stack(endpoint, clock)(REQUEST, ctx))
    await asyncio.sleep(0)
    clock.advance(0.5)

    with pytest.raises(DeadlineError, match=r"the deadline passed in the wait after attempt 1: UNAVAILABLE") as caught:
        await call

    assert isinstance(caught.value.__cause__, CarrickError)
    assert (endpoint.calls, len(ctx.call.attempts)) == (1, 1)


async def test_an_error_that_is_not_ours_passes() -> None:
    """A fault in the program is not tried again."""
    endpoint = Scripted(KeyError("bug"), Code.OK)

    with pytest.raises(KeyError):
        await _stack(endpoint, FakeClock())(REQUEST, first_attempt(REPEATABLE))
    assert endpoint.calls == 1


async def test_cancelling_during_an_attempt_passes_at_once() -> None:
    """A cancelled attempt is not followed by another, and the cancellation is what the caller gets."""
    hanging, clock, seen = Hanging(), FakeClock(), Seen()
    ctx = first_attempt(REPEATABLE)
    call = asyncio.ensure_future(_stack(hanging, clock, seen)(REQUEST, ctx))
    await hanging.entered.wait()

    call.cancel()
    await asyncio.wait((call,))

    assert call.cancelled()
    assert (len(ctx.call.attempts), clock.slept, seen.observations) == (1, [], [])


async def test_cancelling_during_a_wait_passes_at_once() -> None:
    """A call that waits for its next attempt ends where it is."""
    clock, endpoint = FakeClock(), Scripted(Code.UNAVAILABLE)
    ctx = first_attempt(REPEATABLE)
    call = asyncio.ensure_future(_stack(endpoint, clock)(REQUEST, ctx))
    await asyncio.sleep(0)
    assert len(clock.slept) == 1

    call.cancel()
    await asyncio.wait((call,))

    assert call.cancelled()
    assert (endpoint.calls, len(ctx.call.attempts)) == (1, 1)


async def test_a_raised_cancellation_is_not_retried() -> None:
    """CancelledError is no failure, wherever it comes from."""
    endpoint = Scripted(asyncio.CancelledError(), Code.OK)

    with pytest.raises(asyncio.CancelledError):
        await _stack(endpoint, FakeClock())(REQUEST, first_attempt(REPEATABLE))
    assert endpoint.calls == 1


async def test_concurrent_calls_share_nothing() -> None:
    """One filter serves many calls: each has its own attempts."""
    clock = FakeClock(autojump=True)
    service = _stack(Scripted(Code.UNAVAILABLE), clock)
    contexts: list[Context] = [first_attempt(REPEATABLE) for _ in range(3)]

    errors = await asyncio.gather(*(service(REQUEST, ctx) for ctx in contexts), return_exceptions=True)

    assert all(isinstance(each, CarrickError) for each in errors)
    assert [len(ctx.call.attempts) for ctx in contexts] == [4, 4, 4]


async def test_requests_are_let_go_of_after_the_first_response() -> None:
    """A long stream does not hold the requests that it could have needed for another attempt."""
    talk = streaming(MethodKind.BIDI_STREAM, idempotency=IdempotencyLevel.IDEMPOTENT)
    held: list[int] = []

    async def answering(requests: AsyncIterator[Item], ctx: Context) -> AsyncIterator[Item]:
        first, mine = await anext(requests), item(0)

        async def replies() -> AsyncIterator[Item]:
            async for _ in requests:
                held.append(sys.getrefcount(first) - sys.getrefcount(mine))
                yield item(0)

        return replies()

    service = stack(answering, keep_requests(1000), _retry(clock=FakeClock()), read_kept)
    reply = await service(items(4), first_attempt(talk))
    assert await numbers(reply) == [0] * 3
    assert held == [0] * 3


async def test_a_retry_that_the_budget_does_not_pay_for_is_not_made() -> None:
    """The last error is raised, and an observer hears why there was no other attempt."""
    clock, seen = FakeClock(autojump=True), Seen()
    budget = RetryBudget(RetryBudgetOptions(ratio=0.0, per_second=0.1, window=10.0))
    endpoint = Scripted(Code.UNAVAILABLE)

    with pytest.raises(CarrickError, match="as told"):
        await _stack(endpoint, clock, seen, budget)(REQUEST, first_attempt(REPEATABLE))

    assert endpoint.calls == 2
    assert endpoint.contexts[-1].attempt is not None
    assert endpoint.contexts[-1].attempt.retries_left == 0, "the callers above must not try in its place"
    assert seen.observations[-1] == RetryNotMade(
        method="test.v1.Tests/Repeatable",
        attempt=2,
        kind="retry",
        reason="the retry budget is spent: 1 retries and hedges beside 0 calls",
    )


async def test_what_was_never_sent_costs_no_budget() -> None:
    """A refusal of our own has loaded nobody."""
    clock = FakeClock(autojump=True)
    budget = RetryBudget(RetryBudgetOptions(ratio=0.0, per_second=0.0))
    ctx = first_attempt(REPEATABLE)

    assert await _stack(Scripted(rejected(), Code.OK), clock, budget=budget)(REQUEST, ctx) == REPLY
    assert ctx.call.allowance is None


async def test_retries_are_taken_out_of_what_the_calls_above_allow() -> None:
    """Two retries are left to the call tree: there are two, and then none."""
    clock, seen, endpoint = FakeClock(autojump=True), Seen(), Scripted(Code.UNAVAILABLE)
    ctx = first_attempt(REPEATABLE)
    ctx.call.allowance = RetryAllowance(2)

    with pytest.raises(CarrickError) as caught:
        await _stack(endpoint, clock, seen)(REQUEST, ctx)

    assert endpoint.calls == 3
    assert caught.value.attempt is not None
    assert caught.value.attempt.retries_left == 0
    assert seen.names == ["RetryScheduled", "RetryScheduled", "RetryNotMade"]


async def test_retries_that_were_made_below_are_not_made_here() -> None:
    """An attempt that says that nothing is left ends the call: its service has tried for us."""
    clock = FakeClock(autojump=True)
    endpoint = Scripted(Code.UNAVAILABLE, trailers=((RETRIES_LEFT, "0"),))
    ctx = first_attempt(REPEATABLE)

    with pytest.raises(CarrickError):
        await _stack(endpoint, clock)(REQUEST, ctx)

    assert endpoint.calls == 1
    assert ctx.attempt is not None
    assert ctx.attempt.retries_left == 0


@pytest.mark.parametrize(("reported", "calls"), [("1", 2), ("100", 4), ("-1", 4), ("many", 4), ("0" * 500, 4)])
async def test_what_a_peer_says_is_left_is_read_with_care(reported: str, calls: int) -> None:
    """It can only take retries away, and nonsense says nothing."""
    endpoint = Scripted(Code.UNAVAILABLE, trailers=((RETRIES_LEFT, reported),))

    with pytest.raises(CarrickError):
        await _stack(endpoint, FakeClock(autojump=True))(REQUEST, first_attempt(REPEATABLE))

    assert endpoint.calls == calls


async def test_an_answer_is_not_told_to_observers() -> None:
    """That NOT_FOUND is not tried again surprises nobody."""
    seen = Seen()
    with pytest.raises(CarrickError):
        await _stack(Scripted(Code.NOT_FOUND), FakeClock(), seen)(REQUEST, first_attempt(REPEATABLE))
    assert seen.observations == []
