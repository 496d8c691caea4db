import asyncio
import time
from typing import Any

import pybreaker
import pytest

from carrick import (
    Attempt,
    AttemptKind,
    BreakerOptions,
    CarrickError,
    Code,
    Context,
    RejectedError,
    RemoteError,
    TransportError,
)
from carrick.observe import BreakerClosed, BreakerHalfOpened, BreakerOpened
from carrick.options import OUTAGES
from carrick.policy.breaker import BreakerState, OpenReason, Permit, breaker
from carrick.service import Service, stack
from carrick.testing import FakeClock
from tests.unit.calls import REPLY, REQUEST, Hanging, Scripted, Seen, first_attempt

_OPTIONS = BreakerOptions(failure_ratio=0.5, window=10.0, min_calls=4, open_for=5.0, trials=2)
_SLOW = BreakerOptions(slow_after=1.0, slow_ratio=0.75, min_calls=4, failure_ratio=1.0, trials=2)
_NAME = "test.v1.Tests/Plain"


def _permit(state: BreakerState, now: float) -> Permit:
    permit = state.acquire(now)
    assert permit is not None
    return permit


def _run(state: BreakerState, now: float, *, failures: int = 0, successes: int = 0) -> None:
    for _ in range(successes):
        state.succeeded(_permit(state, now), now)
    for _ in range(failures):
        state.failed(_permit(state, now), now)


def _opened(now: float = 0.0) -> BreakerState:
    state = BreakerState(_OPTIONS)
    _run(state, now, failures=4)
    assert state.state == "open"
    return state


def test_it_begins_closed() -> None:
    """A new breaker lets everything through."""
    state = BreakerState(_OPTIONS)

    assert (state.state, state.generation, state.admits(0.0)) == ("closed", 0, True)


@pytest.mark.parametrize(
    ("successes", "failures", "expected"),
    [(0, 3, "closed"), (0, 4, "open"), (2, 2, "open"), (3, 2, "closed"), (10, 9, "closed"), (10, 10, "open")],
)
def test_it_opens_at_the_ratio_but_not_below_min_calls(successes: int, failures: int, expected: str) -> None:
    """A share of the calls opens it, in whatever order they came, once there are enough of them."""
    state = BreakerState(_OPTIONS)
    _run(state, 0.0, successes=successes, failures=failures)

    assert state.state == expected


def test_failures_need_not_be_consecutive() -> None:
    """Every other call failing opens it: a success in between forgives nothing."""
    state = BreakerState(_OPTIONS)
    for _ in range(2):
        _run(state, 0.0, successes=1, failures=1)

    assert state.state == "open"


def test_a_success_never_opens_it() -> None:
    """The call that completes min_calls opens it only if it failed itself."""
    state = BreakerState(_OPTIONS)
    _run(state, 0.0, failures=3)
    _run(state, 0.0, successes=1)

    assert state.state == "closed"


def test_the_window_forgets() -> None:
    """Calls older than the window count no more."""
    state = BreakerState(_OPTIONS)
    _run(state, 0.5, failures=3)
    assert state.counts(9.9) == (3, 3, 0)
    assert state.counts(10.0) == (0, 0, 0)

    _run(state, 10.0, failures=3)
    assert state.state == "closed"
    assert state.counts(10.0) == (3, 3, 0)


def test_the_window_slides_slice_by_slice() -> None:
    """Each tenth of the window leaves by itself."""
    state = BreakerState(BreakerOptions(window=10.0, min_calls=100))
    for second in range(10):
        _run(state, float(second), successes=1)

    assert [state.counts(float(now))[0] for now in (9, 10, 14, 19)] == [10, 9, 5, 0]


def test_an_open_breaker_refuses_until_its_time_is_over() -> None:
    """Nothing is let through for open_for seconds, then a trial is."""
    state = _opened(now=100.0)

    assert state.acquire(100.0) is None
    assert state.acquire(104.999) is None
    assert not state.admits(104.999)
    assert state.admits(105.0)
    assert state.state == "open"  # asking changes nothing
    assert _permit(state, 105.0).trial
    assert state.state == "half-open"


def test_half_open_lets_only_the_trials_through() -> None:
    """With two trials the third caller is refused, however many wait."""
    state = _opened()
    _permit(state, 5.0)
    _permit(state, 5.0)

    assert not state.admits(5.0)
    assert [state.acquire(5.0) for _ in range(50)] == [None] * 50


def test_a_passed_trial_admits_no_replacement() -> None:
    """Trials are counted in all, not at a time."""
    state = _opened()
    first = _permit(state, 5.0)
    _permit(state, 5.0)
    state.succeeded(first, 5.0)

    assert state.acquire(5.0) is None


def test_all_trials_must_pass() -> None:
    """The last trial's success closes it, with nothing remembered."""
    state = _opened()
    first, second = _permit(state, 5.0), _permit(state, 5.0)
    state.succeeded(first, 5.0)
    assert state.state == "half-open"
    state.succeeded(second, 5.0)

    assert state.state == "closed"
    assert state.counts(5.0) == (0, 0, 0)


def test_one_failed_trial_opens_it_again() -> None:
    """After one success and one failure it is open for a whole time more."""
    state = _opened()
    first, second = _permit(state, 5.0), _permit(state, 5.0)
    state.succeeded(first, 6.0)
    state.failed(second, 6.0)

    assert state.state == "open"
    assert state.acquire(10.9) is None
    assert state.acquire(11.0) is not None


@pytest.mark.parametrize("fails", [True, False])
def test_late_results_from_before_it_opened_are_ignored(fails: bool) -> None:
    """A call begun while closed says nothing about the trials."""
    state = BreakerState(_OPTIONS)
    late = [_permit(state, 0.0) for _ in range(3)]
    _run(state, 0.0, failures=4)
    trial = _permit(state, 5.0)

    for permit in late:
        (state.failed if fails else state.succeeded)(permit, 5.0)
        state.forgotten(permit)
    assert state.state == "half-open"

    state.succeeded(trial, 5.0)
    state.succeeded(_permit(state, 5.0), 5.0)
    assert state.state == "closed"
    assert state.counts(5.0) == (0, 0, 0)


@pytest.mark.parametrize("end", ["succeeded", "failed", "forgotten"])
def test_late_trials_of_an_earlier_half_open_are_ignored(end: str) -> None:
    """A trial that ends after another one failed neither closes nor prolongs anything, nor frees a place."""
    state = _opened()
    late, failing = _permit(state, 5.0), _permit(state, 5.0)
    state.failed(failing, 5.0)
    fresh = _permit(state, 10.0)

    if end == "forgotten":
        state.forgotten(late)
    else:
        (state.failed if end == "failed" else state.succeeded)(late, 10.0)
    assert state.state == "half-open"
    state.succeeded(fresh, 10.0)
    assert state.state == "half-open"
    assert state.acquire(10.0) is not None
    assert state.acquire(10.0) is None


def test_a_forgotten_trial_frees_its_place() -> None:
    """A cancelled trial counts for nothing, and another may take its place."""
    state = _opened()
    first = _permit(state, 5.0)
    _permit(state, 5.0)
    state.forgotten(first)

    assert state.state == "half-open"
    assert state.acquire(5.0) is not None
    assert state.acquire(5.0) is None


def test_a_forgotten_call_is_no_call() -> None:
    """A cancelled call while closed does not dilute the ratio."""
    state = BreakerState(_OPTIONS)
    for _ in range(10):
        state.forgotten(_permit(state, 0.0))

    assert state.counts(0.0) == (0, 0, 0)


def test_slow_calls_open_it_at_their_own_ratio() -> None:
    """A call that took longer than slow_after is slow, answered or not; exactly as long is not."""
    state = BreakerState(_SLOW)
    for took in (1.0, 1.1, 1.1):
        state.succeeded(_permit(state, 0.0), 0.0, took)
    assert (state.state, state.counts(0.0)) == ("closed", (3, 0, 2))
    state.failed(_permit(state, 0.0), 0.0, 1.1)

    assert (state.state, state.reason) == ("open", OpenReason.SLOW)
    assert state.opening is not None
    assert state.opening.counts == (4, 1, 3)


def test_without_slow_after_nothing_is_slow() -> None:
    """An hour is not slow for who did not say what is."""
    state = BreakerState(BreakerOptions(min_calls=1, slow_ratio=0.01))
    state.succeeded(_permit(state, 0.0), 0.0, 3600.0)

    assert (state.state, state.counts(0.0)) == ("closed", (1, 0, 0))


def test_a_slow_trial_opens_it_again() -> None:
    """An endpoint that answers, but as slowly as before, has not recovered."""
    state = BreakerState(_SLOW)
    _run(state, 0.0, failures=4)
    state.succeeded(_permit(state, 5.0), 7.0, 2.0)

    assert (state.state, state.reason) == ("open", OpenReason.TRIAL)
    assert state.acquire(11.9) is None
    assert state.acquire(12.0) is not None


def test_a_window_of_calls_forgets_by_number_and_not_by_age() -> None:
    """With the last six calls counted, a failure leaves with the sixth call after it, however late that comes."""
    state = BreakerState(BreakerOptions(window_calls=6, min_calls=4, failure_ratio=0.5))
    _run(state, 0.0, failures=2)
    _run(state, 1e6, successes=4)
    assert state.counts(2e6) == (6, 2, 0)
    _run(state, 1e6, successes=1)
    assert state.counts(2e6) == (6, 1, 0)
    _run(state, 3e6, failures=3)

    assert (state.state, state.reason) == ("open", OpenReason.FAILURES)


def test_trials_that_hang_are_followed_by_more() -> None:
    """A trial that never ends does not keep everybody out for ever; if it ends after all, it still counts."""
    state = _opened()
    hung = _permit(state, 5.0)
    _permit(state, 5.0)
    assert state.acquire(9.9) is None
    assert state.admits(10.0)
    _permit(state, 10.0)
    _permit(state, 10.0)
    assert state.acquire(10.0) is None

    state.succeeded(hung, 11.0)
    assert state.state == "half-open"
    state.failed(hung, 11.0)
    assert state.state == "open"


def test_hung_trials_that_are_cancelled_at_last_leave_no_more_room_than_there_was() -> None:
    """What they hand back is not added to what came in their place."""
    state = _opened()
    hung = [_permit(state, 5.0) for _ in range(2)]
    _permit(state, 10.0)
    for permit in hung:
        state.forgotten(permit)

    _permit(state, 10.0)
    _permit(state, 10.0)
    assert state.acquire(10.0) is None


def test_while_it_is_open_nothing_is_counted() -> None:
    """What a call meets after it was counted, as the slow trial that opened it, does not prolong the opening."""
    state = _opened()
    state.failed(state.current, 4.0)

    assert state.counts(4.0) == (0, 0, 0)
    assert state.admits(5.0)


def test_by_hand_it_is_opened_for_a_while() -> None:
    """Opening by hand is like opening for failures: trials follow, and late results do not count."""
    state = BreakerState(_OPTIONS)
    late = _permit(state, 0.0)
    state.open(1.0)
    state.succeeded(late, 1.0)
    assert (state.state, state.reason, state.acquire(5.9)) == ("open", OpenReason.MANUAL, None)

    assert _permit(state, 6.0).trial
    assert state.reason is OpenReason.MANUAL


def test_an_isolated_one_stays_open_until_it_is_closed() -> None:
    """No time ends it, and opening it does not make it less."""
    state = BreakerState(_OPTIONS)
    state.isolate()
    state.open(1.0)
    assert (state.state, state.reason, state.acquire(1e9)) == ("open", OpenReason.ISOLATED, None)
    state.close()

    assert (state.state, state.reason, state.opening) == ("closed", None, None)
    assert state.acquire(0.0) is not None


@pytest.mark.parametrize("change", ["open", "isolate", "close"])
@pytest.mark.parametrize("begins", ["closed", "open", "half-open"])
def test_a_change_by_hand_forgets_what_was_counted(change: str, begins: str) -> None:
    """Whatever the state was, results of calls begun before have no say, and no trial is owed."""
    state = _opened() if begins != "closed" else BreakerState(_OPTIONS)
    late = _permit(state, 5.0) if begins != "open" else state.current
    if begins == "half-open":
        state.succeeded(_permit(state, 5.0), 5.0)
    state.open(5.0) if change == "open" else getattr(state, change)()
    after = state.generation
    state.failed(late, 5.0)
    state.succeeded(late, 5.0)
    state.forgotten(late)

    assert (state.generation, state.counts(5.0)) == (after, (0, 0, 0))
    assert state.state == ("closed" if change == "close" else "open")
    assert state.admits(5.0) is (change == "close")


def test_pybreaker_tells_its_listeners() -> None:
    """Each change goes through pybreaker's breaker, where listeners hear of it."""

    class Listener(pybreaker.CircuitBreakerListener):
        def __init__(self) -> None:
            self.states: list[str] = []

        def state_change(self, cb: object, old: object, new: pybreaker.CircuitBreakerState) -> None:
            self.states.append(new.name)

    state, listener = BreakerState(_OPTIONS), Listener()
    state.circuit.add_listener(listener)
    _run(state, 0.0, failures=4)
    _run(state, 5.0, successes=2)

    assert listener.states == ["open", "half-open", "closed"]
    assert state.generation == 3


# The filter


def _stack(state: BreakerState, service: Service, clock: FakeClock, seen: Seen | None = None) -> Service:
    return stack(service, breaker(state, endpoint="host:1", clock=clock, observe=seen or Seen()))


async def _call(service: Service, times: int = 1) -> list[object]:
    results: list[object] = []
    for _ in range(times):
        try:
            results.append(await service(REQUEST, first_attempt()))
        except CarrickError as error:
            results.append(error)
    return results


async def _open(state: BreakerState, clock: FakeClock, seen: Seen | None = None) -> None:
    await _call(_stack(state, Scripted(Code.UNAVAILABLE), clock, seen), _OPTIONS.min_calls)
    assert state.state == "open"


@pytest.mark.parametrize("code", [code for code in Code if code is not Code.OK])
async def test_only_some_statuses_speak_against_an_endpoint(code: Code) -> None:
    """An answer that is about the request, however bad, is an answer."""
    state = BreakerState(_OPTIONS)
    await _call(_stack(state, Scripted(code), FakeClock()), 4)

    assert state.state == ("open" if code in OUTAGES else "closed")


async def test_an_error_of_no_attempt_is_no_answer() -> None:
    """Requests that are more than can be kept for a hedge, say, fail here, and say nothing of the endpoint."""
    clock, state = FakeClock(), _opened()
    clock.advance(5.0)

    async def failing(request: Any, ctx: Context) -> Any:
        assert ctx.attempt is not None
        ctx.attempt.sent = True
        raise CarrickError(Code.RESOURCE_EXHAUSTED, "more than is kept")

    service = stack(failing, breaker(state, endpoint="e", clock=clock, observe=Seen()))
    for _ in range(5):
        with pytest.raises(CarrickError):
            await service(REQUEST, first_attempt())

    assert state.state == "half-open"
    assert state.counts(clock.monotonic()) == (0, 0, 0)
    assert state.admits(clock.monotonic())


async def test_a_refused_call_is_rejected_and_never_sent() -> None:
    """The error says which circuit is open, and its attempt was not sent."""
    state, clock, endpoint = BreakerState(_OPTIONS), FakeClock(), Scripted()
    await _open(state, clock)
    ctx = first_attempt()

    with pytest.raises(RejectedError, match=r"test\.v1\.Tests/Plain: the circuit to host:1 is open") as caught:
        await _stack(state, endpoint, clock)(REQUEST, ctx)

    assert caught.value.code is Code.UNAVAILABLE
    assert caught.value.attempt is ctx.attempt
    assert ctx.attempt is not None
    assert not ctx.attempt.sent
    assert endpoint.calls == 0


async def test_each_change_is_observed_once() -> None:
    """Opening, half-opening and closing are told with method, endpoint and counts."""
    state, clock, seen = BreakerState(_OPTIONS, name=_NAME), FakeClock(), Seen()
    await _open(state, clock, seen)
    clock.advance(5.0)
    await _call(_stack(state, Scripted(Code.INTERNAL), clock, seen))
    clock.advance(5.0)
    await _call(_stack(state, Scripted(), clock, seen), 3)

    assert seen.observations == [
        BreakerOpened(method=_NAME, endpoint="host:1", reason="failures", calls=4, failures=4, slow=0),
        BreakerHalfOpened(method=_NAME, endpoint="host:1"),
        BreakerOpened(method=_NAME, endpoint="host:1", reason="trial", calls=1, failures=1, slow=0),
        BreakerHalfOpened(method=_NAME, endpoint="host:1"),
        BreakerClosed(method=_NAME, endpoint="host:1"),
    ]


async def test_a_cancelled_call_counts_for_nothing() -> None:
    """Callers that give up do not open a circuit."""
    state, clock = BreakerState(BreakerOptions(min_calls=1)), FakeClock()

    for _ in range(5):
        hanging = Hanging()
        call = asyncio.ensure_future(_stack(state, hanging, clock)(REQUEST, first_attempt()))
        await asyncio.sleep(0)
        assert hanging.entered.is_set()
        call.cancel()
        await asyncio.wait((call,))
        assert call.cancelled()

    assert (state.state, state.counts(clock.monotonic())) == ("closed", (0, 0, 0))


@pytest.mark.parametrize(("sent", "counted"), [(True, (1, 0, 1)), (False, (0, 0, 0))])
async def test_a_call_that_was_cancelled_when_it_was_slow_counts_as_slow(
    sent: bool, counted: tuple[int, int, int]
) -> None:
    """Else hedges would hide a slow endpoint, whose attempts always lose. What was never sent was not slow."""
    state, clock = BreakerState(BreakerOptions(slow_after=1.0)), FakeClock()

    async def hanging(request: Any, ctx: Context) -> None:
        assert ctx.attempt is not None
        ctx.attempt.sent = sent
        await asyncio.Event().wait()

    call = asyncio.ensure_future(_stack(state, hanging, clock)(REQUEST, first_attempt()))
    await asyncio.sleep(0)
    clock.advance(1.5)
    call.cancel()
    await asyncio.wait((call,))
    assert call.cancelled()
    assert state.counts(clock.monotonic()) == counted


async def test_a_cancelled_trial_gives_its_permit_back() -> None:
    """A half-open breaker does not stay shut because its trials were cancelled."""
    state, clock = BreakerState(_OPTIONS), FakeClock()
    await _open(state, clock)
    clock.advance(5.0)
    hanging = Hanging()
    trials = [asyncio.ensure_future(_stack(state, hanging, clock)(REQUEST, first_attempt())) for _ in range(2)]
    await asyncio.sleep(0)
    assert not state.admits(clock.monotonic())

    for trial in trials:
        trial.cancel()
    await asyncio.wait(trials)

    assert state.state == "half-open"
    assert await _call(_stack(state, Scripted(), clock), 2) == [REPLY, REPLY]
    assert state.state == "closed"


async def test_an_unsent_attempt_counts_for_nothing() -> None:
    """What never reached the endpoint, for lack of time or a full limit behind, says nothing about it."""
    state = BreakerState(BreakerOptions(min_calls=1))
    unsent = TransportError(Code.UNAVAILABLE, "not sent", attempt=Attempt(1, AttemptKind.FIRST))
    await _call(_stack(state, Scripted(unsent), FakeClock()), 5)

    assert (state.state, state.counts(1000.0)) == ("closed", (0, 0, 0))


async def test_a_fault_of_the_program_counts_for_nothing() -> None:
    """An exception that is no CarrickError passes, and gives its permit back."""
    state, clock = BreakerState(_OPTIONS), FakeClock()
    await _open(state, clock)
    clock.advance(5.0)

    for _ in range(5):
        with pytest.raises(KeyError):
            await _stack(state, Scripted(KeyError("bug")), clock)(REQUEST, first_attempt())
    assert state.state == "half-open"
    assert state.admits(clock.monotonic())


async def test_a_late_result_does_not_count() -> None:
    """A call that was begun before the circuit opened and fails after it half-opened does not open it again."""
    state, clock = BreakerState(_OPTIONS), FakeClock()
    go_on = asyncio.Event()

    async def late(request: object, ctx: object) -> object:
        await go_on.wait()
        raise RemoteError(Code.UNAVAILABLE, "late")

    slow = asyncio.ensure_future(_stack(state, late, clock)(REQUEST, first_attempt()))
    await asyncio.sleep(0)
    await _open(state, clock)
    clock.advance(5.0)
    assert await _call(_stack(state, Scripted(), clock)) == [REPLY]
    go_on.set()
    await asyncio.wait((slow,))

    assert isinstance(slow.exception(), RemoteError)
    assert state.state == "half-open"


async def test_changes_by_hand_are_observed_too() -> None:
    """Whoever changes the state, the observer hears of it; two filters on one state tell it once."""
    state, clock, seen = BreakerState(_OPTIONS, name=_NAME), FakeClock(), Seen()
    for _ in range(2):
        _stack(state, Scripted(), clock, seen)
    state.open(clock.monotonic())
    state.isolate()
    state.close()

    nothing = {"calls": 0, "failures": 0, "slow": 0}
    assert seen.observations == [
        BreakerOpened(method=_NAME, endpoint="host:1", reason="manual", **nothing),
        BreakerOpened(method=_NAME, endpoint="host:1", reason="isolated", **nothing),
        BreakerClosed(method=_NAME, endpoint="host:1"),
    ]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ("failures", "open: too many calls failed"),
        ("slow", "open: too many calls were slow"),
        ("trial", "open: a trial call failed or was slow"),
        ("manual", "open: it was opened by hand"),
        ("isolated", "open: it is held open by hand"),
        ("half-open", "half-open: its trial calls are under way"),
    ],
)
async def test_a_refusal_says_why(change: str, why: str) -> None:
    """Who reads the error need not guess whether the endpoint is down, slow, or shut by a colleague."""
    state, clock = BreakerState(_SLOW), FakeClock()
    now = clock.monotonic()
    if change == "slow":
        for _ in range(4):
            state.succeeded(_permit(state, now), now, 2.0)
    elif change == "manual":
        state.open(now)
    elif change == "isolated":
        state.isolate()
    else:
        _run(state, now, failures=4)
    if change in ("trial", "half-open"):
        clock.advance(5.0)
        trials = [_permit(state, clock.monotonic()) for _ in range(2)]
        if change == "trial":
            state.failed(trials[0], clock.monotonic())

    with pytest.raises(RejectedError) as caught:
        await _stack(state, Scripted(), clock)(REQUEST, first_attempt())
    assert caught.value.message == f"{_NAME}: the circuit to host:1 is {why}"


async def test_the_given_clock_says_what_is_slow() -> None:
    """An answer, an error that is one, and a failure count as slow when they took longer than slow_after."""
    state, clock = BreakerState(_SLOW), FakeClock()

    def taking(seconds: float, code: Code) -> Service:
        scripted = Scripted(code)

        async def service(request: Any, ctx: Context) -> object:
            clock.advance(seconds)
            return await scripted(request, ctx)

        return service

    await _call(_stack(state, taking(1.0, Code.OK), clock))
    await _call(_stack(state, taking(1.5, Code.OK), clock))
    await _call(_stack(state, taking(1.5, Code.NOT_FOUND), clock))
    assert state.counts(clock.monotonic()) == (3, 0, 2)
    await _call(_stack(state, taking(1.5, Code.UNAVAILABLE), clock))
    assert state.reason is OpenReason.SLOW


class _NoWall(FakeClock):
    def wall(self) -> float:
        raise AssertionError("a breaker must not read the wall clock")


async def _drive(clock: FakeClock) -> None:
    """Take a breaker through all its states."""
    state, seen = BreakerState(_OPTIONS), Seen()
    await _open(state, clock, seen)
    assert isinstance((await _call(_stack(state, Scripted(), clock)))[0], RejectedError)
    clock.advance(5.0)
    await _call(_stack(state, Scripted(Code.UNAVAILABLE), clock, seen))
    clock.advance(5.0)
    await _call(_stack(state, Scripted(), clock, seen), 3)
    assert seen.names == ["BreakerOpened", "BreakerHalfOpened", "BreakerOpened", "BreakerHalfOpened", "BreakerClosed"]


async def test_only_the_given_monotonic_clock_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    """No other clock is read: neither the wall nor the process's own."""

    def forbidden() -> float:
        raise AssertionError("a breaker must use the clock it was given")

    clock = _NoWall()
    with monkeypatch.context() as patched:
        for name in ("time", "time_ns"):
            patched.setattr(time, name, forbidden)
        await _drive(clock)


async def test_pybreakers_own_calls_are_never_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """They admit everybody when half-open, count cancellations as failures and read the wall clock."""

    def forbidden(*_: object, **__: object) -> object:
        raise AssertionError("pybreaker must not make the call")

    for name in ("call", "calling", "call_async", "__call__"):
        assert hasattr(pybreaker.CircuitBreaker, name)
        monkeypatch.setattr(pybreaker.CircuitBreaker, name, forbidden)
    for name in ("call", "call_async", "_handle_success", "_handle_error"):
        monkeypatch.setattr(pybreaker.CircuitBreakerState, name, forbidden)

    await _drive(FakeClock())
