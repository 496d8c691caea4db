"""What opens a breaker, and how long it stays so."""

import pybreaker
import pytest

from carrick import BreakerOptions
from carrick.policy.breaker import BreakerState, OpenReason
from tests.unit.policy.breakers import OPTIONS, SLOW, admitted, opened, run_calls


def test_it_begins_closed() -> None:
    """A new breaker lets everything through."""
    state = BreakerState(OPTIONS)

    assert (state.state, state.generation, state.admits(0.0)) == ("closed", 0, True)


@pytest.mark.parametrize(
    ("successes", "failures", "expected"),
    [(0, 3, "closed"), (0, 4, "open"), (2, 2, "open"), (3, 2, "closed"), (10, 9, "closed"), (10, 10, "open")],
)
def test_it_opens_at_the_ratio_but_not_below_min_calls(successes: int, failures: int, expected: str) -> None:
    """A share of the calls opens it, in whatever order they came, once there are enough of them."""
    state = BreakerState(OPTIONS)
    run_calls(state, 0.0, successes=successes, failures=failures)

    assert state.state == expected


def test_failures_need_not_be_consecutive() -> None:
    """Every other call failing opens it: a success in between forgives nothing."""
    state = BreakerState(OPTIONS)
    for _ in range(2):
        run_calls(state, 0.0, successes=1, failures=1)

    assert state.state == "open"


def test_a_success_never_opens_it() -> None:
    """The call that completes min_calls opens it only if it failed itself."""
    state = BreakerState(OPTIONS)
    run_calls(state, 0.0, failures=3)
    run_calls(state, 0.0, successes=1)

    assert state.state == "closed"


def test_a_forgotten_call_is_no_call() -> None:
    """A cancelled call while closed does not dilute the ratio."""
    state = BreakerState(OPTIONS)
    for _ in range(10):
        state.forgotten(admitted(state, 0.0))

    assert state.counts(0.0) == (0, 0, 0)


def test_slow_calls_open_it_at_their_own_ratio() -> None:
    """A call that took longer than slow_after is slow, answered or not; exactly as long is not."""
    state = BreakerState(SLOW)
    for took in (1.0, 1.1, 1.1):
        state.succeeded(admitted(state, 0.0), 0.0, took)
    assert (state.state, state.counts(0.0)) == ("closed", (3, 0, 2))
    state.failed(admitted(state, 0.0), 0.0, 1.1)

    assert (state.state, state.reason) == ("open", OpenReason.SLOW)
    assert state.opening is not None
    assert state.opening.counts == (4, 1, 3)


def test_without_slow_after_nothing_is_slow() -> None:
    """An hour is not slow for who did not say what is."""
    state = BreakerState(BreakerOptions(min_calls=1, slow_ratio=0.01))
    state.succeeded(admitted(state, 0.0), 0.0, 3600.0)

    assert (state.state, state.counts(0.0)) == ("closed", (1, 0, 0))


def test_an_open_breaker_refuses_until_its_time_is_over() -> None:
    """Nothing is let through for open_for seconds, then a trial is."""
    state = opened(now=100.0)

    assert state.acquire(100.0) is None
    assert state.acquire(104.999) is None
    assert not state.admits(104.999)
    assert state.admits(105.0)
    assert state.state == "open"  # asking changes nothing
    assert admitted(state, 105.0).trial
    assert state.state == "half-open"


def test_while_it_is_open_nothing_is_counted() -> None:
    """What a call meets after it was counted, as the slow trial that opened it, does not prolong the opening."""
    state = opened()
    state.failed(state.current, 4.0)

    assert state.counts(4.0) == (0, 0, 0)
    assert state.admits(5.0)


def test_pybreaker_tells_its_listeners() -> None:
    """Each change goes through pybreaker's breaker, where listeners hear of it."""

    class Listener(pybreaker.CircuitBreakerListener):
        def __init__(self) -> None:
            self.states: list[str] = []

        def state_change(self, cb: object, old: object, new: pybreaker.CircuitBreakerState) -> None:
            self.states.append(new.name)

    state, listener = BreakerState(OPTIONS), Listener()
    state.circuit.add_listener(listener)
    run_calls(state, 0.0, failures=4)
    run_calls(state, 5.0, successes=2)

    assert listener.states == ["open", "half-open", "closed"]
    assert state.generation == 3
