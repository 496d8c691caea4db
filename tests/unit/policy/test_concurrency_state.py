"""Who gets a place, who waits, and who is refused."""

import pytest

from carrick import ConcurrencyOptions, Priority
from carrick.policy.concurrency import ConcurrencyState, Outcome, Refusal, Waiter, concurrency_state
from carrick.policy.gradient import GradientLimit

CRITICAL, DEFAULT, SHEDDABLE = Priority.CRITICAL, Priority.DEFAULT, Priority.SHEDDABLE
SHARES = (100, 90, 70)


def full(limit: int = 1, *, max_queued: int = 10, max_queue_time: float | None = None) -> ConcurrencyState:
    """Return a state without a free place."""
    state = ConcurrencyState(limit, max_queued=max_queued, max_queue_time=max_queue_time)
    for _ in range(limit):
        assert state.acquire(0.0, None, None) is None
    return state


def waiter(
    state: ConcurrencyState, priority: Priority | None = None, *, now: float = 0.0, deadline: float | None = None
) -> Waiter:
    """Queue a call."""
    verdict = state.acquire(now, deadline, priority)
    assert isinstance(verdict, Waiter)
    return verdict


def release(state: ConcurrencyState, now: float = 1.0, held: float = 0.0) -> list[Waiter]:
    """Hand a place back."""
    return list(state.released(now, now - held, Outcome.SILENT))


def test_no_more_calls_than_the_limit() -> None:
    """The call above the limit is refused, and a place that was handed back is given again."""
    state = full(2, max_queued=0)
    assert state.acquire(0.0, None, None) is Refusal.LIMIT
    release(state)
    assert state.acquire(0.0, None, None) is None
    assert state.in_flight == 2


def test_a_full_queue_refuses() -> None:
    """Where as many wait as may, the next one is refused and takes nothing."""
    state = full(max_queued=1)
    waiter(state)
    assert state.acquire(0.0, None, None) is Refusal.QUEUE
    assert (state.in_flight, state.queued) == (1, 1)


def test_places_go_by_priority_then_by_order() -> None:
    """Critical calls come before default ones and those before sheddable ones, whoever came first."""
    state = full()
    waiting = [waiter(state, each) for each in (SHEDDABLE, None, CRITICAL, DEFAULT, CRITICAL)]
    order = [release(state)[0] for _ in waiting]
    assert [waiting.index(each) for each in order] == [2, 4, 1, 3, 0]
    assert (state.in_flight, state.queued) == (1, 0)


@pytest.mark.parametrize(("priority", "places"), [(CRITICAL, 10), (DEFAULT, 9), (None, 9), (SHEDDABLE, 7)])
def test_shares(priority: Priority | None, places: int) -> None:
    """On a server sheddable calls use 70 % of the limit, default ones 90 %, critical ones all of it."""
    state = ConcurrencyState(10, shares=SHARES)
    taken = 0
    while state.acquire(0.0, None, priority) is None:
        taken += 1
    assert taken == places


def test_everybody_has_one_place() -> None:
    """A limit of one is no reason to refuse a sheddable call for ever."""
    state = ConcurrencyState(1, shares=SHARES)
    assert state.caps == (1, 1, 1)
    assert state.acquire(0.0, None, SHEDDABLE) is None


def test_a_place_that_is_free_for_critical_calls_only_is_not_given_to_others() -> None:
    """A sheddable call waits until there are less than its share under way; a critical one goes ahead."""
    state = ConcurrencyState(10, max_queued=5, shares=SHARES)
    for _ in range(8):
        state.acquire(0.0, None, None)
    waiting = waiter(state, SHEDDABLE)
    assert state.acquire(0.0, None, CRITICAL) is None
    assert release(state) == []
    assert release(state) == []
    assert release(state) == [waiting]
    assert waiting.admitted


def test_a_more_important_call_takes_the_place_of_a_less_important_one_in_the_queue() -> None:
    """Where the queue is full, the last of the least important waiters is refused, and told so."""
    state = full(max_queued=3)
    first, last, default = waiter(state, SHEDDABLE), waiter(state, SHEDDABLE), waiter(state)
    critical = waiter(state, CRITICAL)
    assert critical.displaced is last
    assert last.refusal is Refusal.QUEUE
    assert state.queued == 3
    assert [release(state)[0] for _ in range(3)] == [critical, default, first]


def test_nobody_takes_the_place_of_an_equal_in_the_queue() -> None:
    """A full queue of critical calls refuses a critical one."""
    state = full(max_queued=1)
    waiter(state, CRITICAL)
    assert state.acquire(0.0, None, CRITICAL) is Refusal.QUEUE


def test_a_call_whose_turn_would_come_too_late_is_refused_at_once() -> None:
    """The turn is the position in the queue, times how long places are held, over the limit."""
    state = full(2)
    release(state, held=1.0)
    state.acquire(0.0, None, None)
    waiter(state)  # its turn is in 0.5 seconds, the next one's in 1
    assert state.acquire(0.0, 1.0, None) is Refusal.TIME
    assert isinstance(state.acquire(0.0, 1.001, None), Waiter)


def test_less_important_waiters_are_not_waited_for() -> None:
    """The position of a critical call is among those that go before it."""
    state = full(1)
    release(state, held=1.0)
    state.acquire(0.0, None, None)
    for _ in range(5):
        waiter(state, SHEDDABLE)
    assert isinstance(state.acquire(0.0, 1.5, CRITICAL), Waiter)
    assert state.acquire(0.0, 1.5, SHEDDABLE) is Refusal.TIME


def test_how_long_places_are_held_is_an_average_that_follows() -> None:
    """One long call is a tenth of the average, many are all of it."""
    state = full(1)
    release(state, held=1.0)
    state.acquire(0.0, None, None)
    release(state, held=11.0)
    assert state.held == pytest.approx(2.0)
    for _ in range(100):
        state.acquire(0.0, None, None)
        release(state, held=11.0)
    assert state.held == pytest.approx(11.0, rel=0.01)


def test_who_waited_too_long_gets_no_place() -> None:
    """A place goes to the first waiter whose time has not passed; the others are told that theirs has."""
    state = full()
    late, in_time = waiter(state, deadline=1.0), waiter(state, deadline=2.0)
    assert release(state, now=1.0) == [late, in_time]
    assert (late.admitted, late.refusal) == (False, Refusal.TIME)
    assert in_time.admitted
    assert (state.in_flight, state.queued) == (1, 0)


def test_the_longest_wait_bounds_the_deadline() -> None:
    """A server's waiter leaves after ``max_queue_time``, or at its deadline when that is earlier."""
    state = full(max_queue_time=0.1)
    assert waiter(state, now=5.0).expires == pytest.approx(5.1)
    assert waiter(state, now=5.0, deadline=5.05).expires == 5.05
    assert waiter(state, now=5.0, deadline=9.0).expires == pytest.approx(5.1)


def test_who_leaves_the_queue_is_gone() -> None:
    """A cancelled waiter frees its place in the queue, and gets none of the others; leaving twice does nothing."""
    state = full(max_queued=1)
    gone = waiter(state)
    assert list(state.left(gone, 0.0)) == []
    assert list(state.left(gone, 0.0)) == []
    assert state.queued == 0
    assert release(state) == []
    assert state.in_flight == 0


def test_a_place_that_was_just_given_is_passed_on() -> None:
    """A waiter that is cancelled in the moment of its admission hands its place to the next."""
    state = full()
    cancelled, following = waiter(state), waiter(state)
    assert release(state) == [cancelled]
    assert list(state.left(cancelled, 1.0)) == [following]
    assert state.in_flight == 1


def test_a_place_never_used_says_nothing_of_how_long_places_are_held() -> None:
    """What was handed back by a cancelled waiter does not count as a quick call."""
    state = full()
    release(state, held=4.0)
    state.acquire(0.0, None, None)
    cancelled = waiter(state)
    release(state, held=4.0)
    state.left(cancelled, 1.0)
    assert state.held == 4.0


def test_an_adaptive_limit_is_followed() -> None:
    """When all calls time out, the limit falls, and the shares with it."""
    state = ConcurrencyState(
        100, shares=SHARES, adaptive=GradientLimit(initial=100, minimum=5, maximum=100), max_queued=1
    )
    for second in range(1, 200):
        assert state.acquire(float(second), None, CRITICAL) is None
        state.released(second + 0.5, float(second), Outcome.DROPPED)
    assert state.limit < 100
    assert state.caps == (state.limit, state.limit * 90 // 100, state.limit * 70 // 100)


def test_an_adaptive_limit_is_told_when_it_is_felt() -> None:
    """By every call that gets no place at once, whether it waits or is refused."""

    class Felt(GradientLimit):
        times = 0

        def refused(self) -> None:
            self.times += 1

    adaptive = Felt(initial=1, minimum=1, maximum=1)
    state = ConcurrencyState(1, max_queued=1, adaptive=adaptive)
    for _ in range(3):
        state.acquire(0.0, None, None)
    assert adaptive.times == 2


def test_silent_calls_do_not_move_an_adaptive_limit() -> None:
    """Cancelled calls, and those that failed by themselves, are no measurement."""
    state = ConcurrencyState(100, adaptive=GradientLimit(initial=100, minimum=5, maximum=100))
    for second in range(1, 1000):
        state.acquire(float(second), None, None)
        state.released(second + 0.5, float(second), Outcome.SILENT)
    assert state.limit == 100


def test_the_options_of_a_client() -> None:
    """A client's limit has no shares."""
    state = concurrency_state(ConcurrencyOptions(limit=10, max_queued=3, adaptive=True, min_limit=2, max_limit=20))
    assert state.caps == (10, 10, 10)
    for _ in range(10):
        assert state.acquire(0.0, None, SHEDDABLE) is None
    assert isinstance(state.acquire(0.0, None, SHEDDABLE), Waiter)
