"""Which calls a breaker looks back at."""

from carrick import BreakerOptions
from carrick.policy.breaker import BreakerState, OpenReason
from tests.unit.policy.breakers import OPTIONS, run_calls


def test_the_window_forgets() -> None:
    """Calls older than the window count no more."""
    state = BreakerState(OPTIONS)
    run_calls(state, 0.5, failures=3)
    assert state.counts(9.9) == (3, 3, 0)
    assert state.counts(10.0) == (0, 0, 0)

    run_calls(state, 10.0, failures=3)
    assert state.state == "closed"
    assert state.counts(10.0) == (3, 3, 0)


def test_the_window_slides_slice_by_slice() -> None:
    """Each tenth of the window leaves by itself."""
    state = BreakerState(BreakerOptions(window=10.0, min_calls=100))
    for second in range(10):
        run_calls(state, float(second), successes=1)

    assert [state.counts(float(now))[0] for now in (9, 10, 14, 19)] == [10, 9, 5, 0]


def test_a_window_of_calls_forgets_by_number_and_not_by_age() -> None:
    """With the last six calls counted, a failure leaves with the sixth call after it, however late that comes."""
    state = BreakerState(BreakerOptions(window_calls=6, min_calls=4, failure_ratio=0.5))
    run_calls(state, 0.0, failures=2)
    run_calls(state, 1e6, successes=4)
    assert state.counts(2e6) == (6, 2, 0)
    run_calls(state, 1e6, successes=1)
    assert state.counts(2e6) == (6, 1, 0)
    run_calls(state, 3e6, failures=3)

    assert (state.state, state.reason) == ("open", OpenReason.FAILURES)
