"""A breaker that is opened, isolated and closed by hand."""

import pytest

from carrick.policy.breaker import BreakerState, OpenReason
from tests.unit.policy.breakers import OPTIONS, admitted, opened


def test_by_hand_it_is_opened_for_a_while() -> None:
    """Opening by hand is like opening for failures: trials follow, and late results do not count."""
    state = BreakerState(OPTIONS)
    late = admitted(state, 0.0)
    state.open(1.0)
    state.succeeded(late, 1.0)
    assert (state.state, state.reason, state.acquire(5.9)) == ("open", OpenReason.MANUAL, None)

    assert admitted(state, 6.0).trial
    assert state.reason is OpenReason.MANUAL


def test_an_isolated_one_stays_open_until_it_is_closed() -> None:
    """No time ends it, and opening it does not make it less."""
    state = BreakerState(OPTIONS)
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
    state = opened() if begins != "closed" else BreakerState(OPTIONS)
    late = admitted(state, 5.0) if begins != "open" else state.current
    if begins == "half-open":
        state.succeeded(admitted(state, 5.0), 5.0)
    state.open(5.0) if change == "open" else getattr(state, change)()
    after = state.generation
    state.failed(late, 5.0)
    state.succeeded(late, 5.0)
    state.forgotten(late)

    assert (state.generation, state.counts(5.0)) == (after, (0, 0, 0))
    assert state.state == ("closed" if change == "close" else "open")
    assert state.admits(5.0) is (change == "close")
