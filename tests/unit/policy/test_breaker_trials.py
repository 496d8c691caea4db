"""The trials of a half-open breaker: how many there are, and what comes of them."""

import pytest

from carrick.policy.breaker import BreakerState, OpenReason
from tests.unit.policy.breakers import OPTIONS, SLOW, admitted, opened, run_calls


def test_half_open_lets_only_the_trials_through() -> None:
    """With two trials the third caller is refused, however many wait."""
    state = opened()
    admitted(state, 5.0)
    admitted(state, 5.0)

    assert not state.admits(5.0)
    assert [state.acquire(5.0) for _ in range(50)] == [None] * 50


def test_a_passed_trial_admits_no_replacement() -> None:
    """Trials are counted in all, not at a time."""
    state = opened()
    first = admitted(state, 5.0)
    admitted(state, 5.0)
    state.succeeded(first, 5.0)

    assert state.acquire(5.0) is None


def test_all_trials_must_pass() -> None:
    """The last trial's success closes it, with nothing remembered."""
    state = opened()
    first, second = admitted(state, 5.0), admitted(state, 5.0)
    state.succeeded(first, 5.0)
    assert state.state == "half-open"
    state.succeeded(second, 5.0)

    assert state.state == "closed"
    assert state.counts(5.0) == (0, 0, 0)


def test_one_failed_trial_opens_it_again() -> None:
    """After one success and one failure it is open for a whole time more."""
    state = opened()
    first, second = admitted(state, 5.0), admitted(state, 5.0)
    state.succeeded(first, 6.0)
    state.failed(second, 6.0)

    assert state.state == "open"
    assert state.acquire(10.9) is None
    assert state.acquire(11.0) is not None


def test_a_slow_trial_opens_it_again() -> None:
    """An endpoint that answers, but as slowly as before, has not recovered."""
    state = BreakerState(SLOW)
    run_calls(state, 0.0, failures=4)
    state.succeeded(admitted(state, 5.0), 7.0, 2.0)

    assert (state.state, state.reason) == ("open", OpenReason.TRIAL)
    assert state.acquire(11.9) is None
    assert state.acquire(12.0) is not None


def test_a_forgotten_trial_frees_its_place() -> None:
    """A cancelled trial counts for nothing, and another may take its place."""
    state = opened()
    first = admitted(state, 5.0)
    admitted(state, 5.0)
    state.forgotten(first)

    assert state.state == "half-open"
    assert state.acquire(5.0) is not None
    assert state.acquire(5.0) is None


@pytest.mark.parametrize("fails", [True, False])
def test_late_results_from_before_it_opened_are_ignored(fails: bool) -> None:
    """A call begun while closed says nothing about the trials."""
    state = BreakerState(OPTIONS)
    late = [admitted(state, 0.0) for _ in range(3)]
    run_calls(state, 0.0, failures=4)
    trial = admitted(state, 5.0)

    for permit in late:
        (state.failed if fails else state.succeeded)(permit, 5.0)
        state.forgotten(permit)
    assert state.state == "half-open"

    state.succeeded(trial, 5.0)
    state.succeeded(admitted(state, 5.0), 5.0)
    assert state.state == "closed"
    assert state.counts(5.0) == (0, 0, 0)


@pytest.mark.parametrize("end", ["succeeded", "failed", "forgotten"])
def test_late_trials_of_an_earlier_half_open_are_ignored(end: str) -> None:
    """A trial that ends after another one failed neither closes nor prolongs anything, nor frees a place."""
    state = opened()
    late, failing = admitted(state, 5.0), admitted(state, 5.0)
    state.failed(failing, 5.0)
    fresh = admitted(state, 10.0)

    if end == "forgotten":
        state.forgotten(late)
    else:
        (state.failed if end == "failed" else state.succeeded)(late, 10.0)
    assert state.state == "half-open"
    state.succeeded(fresh, 10.0)
    assert state.state == "half-open"
    assert state.acquire(10.0) is not None
    assert state.acquire(10.0) is None


def test_trials_that_hang_are_followed_by_more() -> None:
    """A trial that never ends does not keep everybody out for ever; if it ends after all, it still counts."""
    state = opened()
    hung = admitted(state, 5.0)
    admitted(state, 5.0)
    assert state.acquire(9.9) is None
    assert state.admits(10.0)
    admitted(state, 10.0)
    admitted(state, 10.0)
    assert state.acquire(10.0) is None

    state.succeeded(hung, 11.0)
    assert state.state == "half-open"
    state.failed(hung, 11.0)
    assert state.state == "open"


def test_hung_trials_that_are_cancelled_at_last_leave_no_more_room_than_there_was() -> None:
    """What they hand back is not added to what came in their place."""
    state = opened()
    hung = [admitted(state, 5.0) for _ in range(2)]
    admitted(state, 10.0)
    for permit in hung:
        state.forgotten(permit)

    admitted(state, 10.0)
    admitted(state, 10.0)
    assert state.acquire(10.0) is None
