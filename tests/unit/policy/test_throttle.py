import asyncio
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carrick import (
    Attempt,
    BreakerOptions,
    CarrickError,
    Code,
    Context,
    DeadlineError,
    MethodKind,
    RejectedError,
    RemoteError,
    RetryOptions,
    Service,
    ThrottleOptions,
    stack,
)
from carrick.observe import CallThrottled
from carrick.options import OVERLOAD
from carrick.policy.breaker import BreakerState, breaker
from carrick.policy.retry import retry
from carrick.policy.throttle import MOST_REFUSED, ThrottleState, throttle
from carrick.stream import Concluding
from carrick.testing import FakeClock
from tests.unit.calls import PLAIN, REPEATABLE, REPLY, REQUEST, Hanging, Scripted, Seen, first_attempt, fixed, half
from tests.unit.streams import items, streaming

_OPTIONS = ThrottleOptions(multiplier=2.0, window=120.0)
_ENDINGS = st.lists(st.tuples(st.integers(0, 40), st.booleans()), max_size=60)


def _state(*, accepts: int = 0, others: int = 0, uniform: float = 0.5, now: float = 1000.0) -> ThrottleState:
    state = ThrottleState(_OPTIONS, fixed(uniform))
    for _ in range(accepts):
        state.accepted(now)
    for _ in range(others):
        state.unaccepted(now)
    return state


# The state


@given(_ENDINGS, st.sampled_from([1.0, 1.5, 2.0]), st.floats(0, 1, exclude_max=True))
def test_the_probability_is_the_books(events: list[tuple[int, bool]], multiplier: float, chance: float) -> None:
    """Whatever happened, a call is refused exactly where chance is below the formula over the window's calls."""
    state = ThrottleState(ThrottleOptions(multiplier=multiplier, window=10.0), fixed(chance))
    happened: list[tuple[int, bool]] = []
    now = 100
    for passed, accepted in events:
        now += passed
        (state.accepted if accepted else state.unaccepted)(now)
        happened.append((now, accepted))
        recent = [each for second, each in happened if second > now - 10]
        requests, accepts = len(recent), sum(recent)
        assert state.demand(now) == (requests, accepts)
        expected = chance < min(MOST_REFUSED, max(0.0, (requests - multiplier * accepts) / (requests + 1)))
        assert state.refuses(now) is expected
        if expected:
            happened.append((now, False))


@given(st.integers(0, 500), st.floats(0, 1, exclude_max=True))
def test_a_healthy_service_is_never_throttled(calls: int, chance: float) -> None:
    """As long as half of the calls are accepted, with a multiplier of 2, no chance refuses one."""
    assert not _state(accepts=calls, others=calls, uniform=chance).refuses(1000.0)


@given(st.integers(1, 500))
def test_some_calls_always_pass(others: int) -> None:
    """However bad it looks, one in ten is let through: else nobody would find out that it is over."""
    assert not _state(others=others, uniform=MOST_REFUSED).refuses(1000.0)
    assert _state(others=others, uniform=0.0).refuses(1000.0)


def test_a_refused_call_is_a_request() -> None:
    """As in the book: what was not sent was wanted, so the client goes on throttling."""
    state = _state(others=10)
    assert state.refuses(1000.0)
    assert state.demand(1000.0) == (11, 0)
    assert not _state(accepts=10).refuses(1000.0)


@pytest.mark.parametrize("multiplier", [1.5, 2.0])
def test_what_is_sent_settles_near_a_multiple_of_what_is_accepted(multiplier: float) -> None:
    """Of 60 calls a second, a service that accepts 20 is sent 30 or 40 in the end, by its own client's decision."""
    accepts_a_second, offered = 20, 60
    state = ThrottleState(ThrottleOptions(multiplier=multiplier), random.Random(7).random)
    sent = [0] * 600
    for second in range(600):
        for call in range(offered):
            now = second + call / offered
            if state.refuses(now):
                continue
            sent[second] += 1
            (state.accepted if sent[second] <= accepts_a_second else state.unaccepted)(now)
    assert sent[0] > multiplier * accepts_a_second  # so little was known
    assert sum(sent[300:]) / 300 == pytest.approx(multiplier * accepts_a_second, rel=0.05)


def test_it_ends_with_what_it_was_for() -> None:
    """A minute's outage after a good minute: most calls pass at once, and all when the outage has left the window."""
    state = ThrottleState(_OPTIONS, random.Random(7).random)
    sent = [0] * 240
    for second in range(240):
        for call in range(60):
            now = second + call / 60
            if not state.refuses(now):
                sent[second] += 1
                (state.unaccepted if 60 <= second < 120 else state.accepted)(now)
    assert sent[:60] == [60] * 60
    assert 20 * 60 < sum(sent[120:150]) < 30 * 60
    assert sent[200:] == [60] * 40


def test_a_long_outage_is_forgiven_in_minutes() -> None:
    """After five minutes without a single answer half of the calls pass within three more, and all within four."""
    state = ThrottleState(_OPTIONS, random.Random(7).random)
    sent = [0] * 600
    for second in range(600):
        for call in range(60):
            now = second + call / 60
            if not state.refuses(now):
                sent[second] += 1
                (state.unaccepted if second < 300 else state.accepted)(now)
    assert sum(sent[200:300]) / 100 == pytest.approx(6, rel=0.1)  # one in ten
    assert sum(sent[480:490]) > 10 * 30
    assert sent[540:] == [60] * 60


# The filter


def _stack(state: ThrottleState, service: Service, seen: Seen | None = None, *inside: Any) -> Service:
    return stack(service, throttle(state, clock=FakeClock(), observe=seen or Seen()), *inside)


async def _call(service: Service, ctx: Context | None = None) -> object:
    try:
        return await service(REQUEST, ctx or first_attempt())
    except CarrickError as error:
        return error


async def test_a_refused_call_is_rejected_observed_and_never_sent() -> None:
    """The error says why, has a code that callers above do not retry, and an attempt that was not sent."""
    state, service, seen, ctx = _state(accepts=1, others=9), Scripted(), Seen(), first_attempt()

    with pytest.raises(RejectedError, match="accepted 1 of the last 11 calls; ask less of it") as caught:
        await _stack(state, service, seen)(REQUEST, ctx)

    assert caught.value.code is Code.RESOURCE_EXHAUSTED
    assert caught.value.code not in RetryOptions().codes
    assert caught.value.attempt is ctx.attempt
    assert ctx.attempt is not None
    assert not ctx.attempt.sent
    assert service.calls == 0
    assert seen.observations == [CallThrottled(method=PLAIN.full_name, requests=11, accepts=1)]


@pytest.mark.parametrize("code", list(Code))
async def test_only_some_endings_are_not_accepted(code: Code) -> None:
    """Refused, not there, or not in time: any other status is work that the service took on."""
    state = _state()
    await _call(_stack(state, Scripted(code)))

    assert state.demand(1000.0) == (1, code not in OVERLOAD)


@pytest.mark.parametrize("kind", list(MethodKind))
async def test_calls_of_all_shapes_count_once(kind: MethodKind) -> None:
    """A stream of responses counts by the first of them: breaking off later changes nothing."""
    state, spec = _state(), streaming(kind)

    async def service(request: Any, ctx: Context) -> Any:
        assert ctx.attempt is not None
        ctx.attempt.sent = True
        return Concluding(items(2), lambda error: None) if spec.streams_responses else await anext(items(1))

    await _stack(state, service)(items(1), first_attempt(spec))
    assert state.demand(1000.0) == (1, 1)
    refused = _state(others=9)
    with pytest.raises(RejectedError):
        await _stack(refused, service)(items(1), first_attempt(spec))


async def test_a_cancelled_call_counts_for_nothing() -> None:
    """Callers that give up say nothing about the service; and the cancellation passes."""
    state, hanging = _state(), Hanging()
    call = asyncio.ensure_future(_stack(state, hanging)(REQUEST, first_attempt()))
    await hanging.entered.wait()
    assert state.demand(1000.0) == (0, 0)  # what is under way is not counted
    call.cancel()
    await asyncio.wait((call,))

    assert call.cancelled()
    assert state.demand(1000.0) == (0, 0)


@pytest.mark.parametrize("error", [RejectedError(Code.UNAVAILABLE, "open"), DeadlineError("too late"), KeyError()])
async def test_what_was_never_sent_counts_for_nothing(error: Exception) -> None:
    """Refusals of this side, like an open circuit's, and faults of the program are not the service's."""
    state = _state()
    with pytest.raises(type(error)):
        await _stack(state, Scripted(error))(REQUEST, first_attempt())

    assert state.demand(1000.0) == (0, 0)


async def test_an_open_circuit_does_not_throttle_what_comes_after_it() -> None:
    """Refused ten thousand times by the breaker, the throttle lets the first call after that through."""
    state, circuit, clock = _state(), BreakerState(BreakerOptions()), FakeClock()
    service = _stack(state, Scripted(), None, breaker(circuit, endpoint="e", clock=clock, observe=Seen()))
    circuit.isolate()
    for _ in range(10_000):
        assert isinstance(await _call(service), RejectedError)
    circuit.close()

    assert await _call(service) == REPLY


async def test_a_call_counts_once_with_its_retries() -> None:
    """Two failed attempts and an answer are one accepted call; attempts that all fail one that is not."""
    state = _state()
    clock = FakeClock(autojump=True)
    tries = retry(RetryOptions(max_attempts=3), clock=clock, uniform=half, observe=Seen())
    away = Code.UNAVAILABLE
    assert await _call(_stack(state, Scripted(away, away, Code.OK), None, tries), first_attempt(REPEATABLE)) == REPLY
    assert state.demand(1000.0) == (1, 1)
    await _call(_stack(state, Scripted(away), None, tries), first_attempt(REPEATABLE))
    assert state.demand(1000.0) == (2, 1)
    await _call(_stack(state, Scripted(away, Code.NOT_FOUND), None, tries), first_attempt(REPEATABLE))
    assert state.demand(1000.0) == (3, 2)


@pytest.mark.parametrize(("code", "accepts"), [(Code.UNAVAILABLE, 0), (Code.ABORTED, 1)])
async def test_the_last_attempt_that_was_sent_decides(code: Code, accepts: int) -> None:
    """Where the error is this side's own, after attempts that were sent, the service is judged by what it answered."""
    state = _state()

    async def service(request: Any, ctx: Context) -> Any:
        sent: Attempt | None = ctx.attempt
        assert sent is not None
        sent.sent, sent.code = True, code
        unsent = ctx.new_attempt(sent.kind)
        raise DeadlineError("no time for another", attempt=unsent.attempt) from RemoteError(code, "as told")

    await _call(_stack(state, service))
    assert state.demand(1000.0) == (1, accepts)
