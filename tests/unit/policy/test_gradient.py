"""The adaptive limit in front of a simulated server: where it settles, and what becomes of the calls."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carrick.policy.gradient import GradientLimit
from tests.unit.policy.simulated import Simulation

SETTLING = 30.0


def simulation(workers: int = 10, latency: float = 0.05, *, initial: int = 20, spread: bool = False) -> Simulation:
    """Return a server of ``workers / latency`` calls a second."""
    return Simulation(GradientLimit(initial=initial, minimum=5, maximum=1000), workers, latency, spread)


@pytest.mark.parametrize("load", [1.1, 1.5, 3.0])
@pytest.mark.parametrize("initial", [5, 100])
@pytest.mark.parametrize(("workers", "latency", "spread"), [(10, 0.05, False), (50, 0.1, False), (50, 0.02, True)])
def test_in_overload_it_settles_near_what_the_server_handles_at_once(
    workers: int, latency: float, spread: bool, initial: int, load: float
) -> None:
    """The limit comes to the workers and some more, from above and below, and 90 % of the capacity are answers."""
    server = simulation(workers, latency, initial=initial, spread=spread)
    server.run(load, SETTLING)
    server.limits.clear()
    assert server.run(load, SETTLING) >= 0.9
    assert workers <= server.mean_limit() <= workers + 3 * workers**0.5


def test_it_does_not_creep_up_under_modest_overload() -> None:
    """Netflix's issue 134: a little too much load for a long time leaves the limit where it was."""
    server = simulation(10, 0.01)
    server.run(1.1, SETTLING)
    seen = []
    for _ in range(4):
        server.limits.clear()
        server.run(1.1, SETTLING)
        seen.append(server.mean_limit())
    assert max(seen) <= 20
    assert max(seen) - min(seen) <= 4


def test_below_the_capacity_all_is_answered() -> None:
    """At half load no call is refused, and the limit, of which less than half is in use, does not rise."""
    server = simulation(initial=50)
    goodput = server.run(0.5, 60.0)
    assert goodput == pytest.approx(0.5, rel=0.05)
    assert max(server.limits) == 50
    assert server.refused == 0


def test_a_limit_that_nobody_feels_is_not_probed() -> None:
    """At its maximum, with three fifths of it in use, it refuses none of the calls that the server bears."""
    server = Simulation(GradientLimit(initial=100, minimum=5, maximum=100), 200, 0.05)
    server.run(0.3, 60.0)
    assert server.refused == 0
    assert min(server.limits) == 100


@pytest.mark.parametrize("factor", [2.0, 8.0, 0.5, 0.1])
@pytest.mark.parametrize("load", [1.1, 1.5, 3.0])
def test_it_follows_the_services_own_latency(load: float, factor: float) -> None:
    """When a call takes longer, or less, than before, the baseline becomes that, and the limit stays what it was."""
    server = simulation()
    server.run(load, SETTLING)
    server.latency *= factor
    assert server.run(load, 2 * SETTLING * max(factor, 1.0)) >= 0.85  # the change included
    server.limits.clear()
    assert server.run(load, SETTLING * max(factor, 1.0)) >= 0.9
    assert server.limit.baseline == pytest.approx(server.latency, rel=0.25)
    assert 10 <= server.mean_limit() <= 20


def test_a_slower_service_is_understood_before_the_limit_has_collapsed() -> None:
    """Latency far from its baseline is looked into at once: a service that is slow has few windows to wait for."""
    server = simulation(spread=True)
    server.run(1.5, SETTLING)
    server.latency *= 8
    server.run(1.5, 5 * SETTLING)
    assert server.limit.baseline == pytest.approx(server.latency, rel=0.4)
    assert server.limit.limit >= 8


@pytest.mark.parametrize("load", [1.5, 3.0])
def test_queueing_does_not_raise_the_baseline(load: float) -> None:
    """A limit that was too high while it was not in use comes down in overload, and what it knew stays known."""
    server = simulation(initial=100)
    server.run(0.5, SETTLING)
    known = []
    for _ in range(40):
        server.run(load, 0.5)
        known.append(server.limit.baseline)
    assert known == pytest.approx([server.latency] * 40, rel=0.25)
    assert server.limit.limit <= 20


def test_the_baseline_is_not_learnt_from_its_own_queueing() -> None:
    """A limit ten times too high at first, so that every latency ever seen was queueing, comes down all the same."""
    server = simulation(10, 0.01, initial=100)
    server.run(1.5, SETTLING)
    assert server.limit.baseline == pytest.approx(0.01, rel=0.25)
    assert server.limit.limit <= 20


@pytest.mark.parametrize("load", [0.9, 3.0])
def test_constant_timeouts_take_it_down(load: float) -> None:
    """Netflix's issue 137: constant timeouts are no steady latency; and when they end, the limit comes back."""
    server = simulation(50, 0.05, initial=200)
    server.run(load, SETTLING)
    server.timeout = 0.01
    server.run(load, SETTLING)
    assert server.limit.limit == 5
    server.timeout = 1e9
    server.run(load, SETTLING)
    server.limits.clear()
    server.run(load, SETTLING)
    assert server.mean_limit() >= 50


def test_refusals_of_the_service_hold_it_where_they_begin() -> None:
    """A service that refuses what is above its own limit at once, and answers the rest as fast as ever."""
    server = simulation(50, 0.05)
    server.rejects_above = 50
    server.run(3.0, SETTLING)
    server.limits.clear()
    assert server.run(3.0, SETTLING) >= 0.8
    assert 35 <= server.mean_limit() <= 60


def test_few_drops_do_not_hold_it_down() -> None:
    """One timeout in a hundred calls has other reasons than load."""
    limit = GradientLimit(initial=20, minimum=5, maximum=1000)
    now = 1.0
    for number in range(20_000):
        now += 0.002
        limit.refused()
        count = limit.dropped if number % 100 == 0 else limit.answered
        count(now, now - 0.05, limit.limit)
    assert limit.limit > 100


class Windows:
    """Feeds a limit one window after the other."""

    def __init__(self, initial: int = 100, minimum: int = 5) -> None:
        self.limit = GradientLimit(initial=initial, minimum=minimum, maximum=initial)
        self._now = 1.0

    def feed(self, latency: float, in_flight: int, *, felt: bool = True) -> None:
        """Run a window of such calls."""
        self._now += latency
        if felt:
            self.limit.refused()
        while not self.limit.answered(self._now, self._now - latency, in_flight):
            self._now += 0.01

    def until_probe(self, latency: float, in_flight: int) -> None:
        """Run windows that feel the limit until a probe has begun: the limit falls at once to 70 %."""
        for _ in range(30):
            before = self.limit.limit
            self.feed(latency, in_flight)
            if self.limit.limit < before * 0.75:
                return
        raise AssertionError("no probe")


@pytest.mark.parametrize(
    ("latency", "in_flight", "learnt"),
    [
        (0.015, 70, 0.015),  # it stays although there are fewer calls
        (0.0135, 70, 0.0135),  # it falls a little
        (0.0115, 70, 0.01),  # it falls by more than half as much as the calls
        (0.015, 98, 0.01),  # there were not fewer calls: nothing was found out
        (0.009, 98, 0.009),  # it is less than was known, and that it can be
    ],
)
def test_what_a_probe_finds_out(latency: float, in_flight: int, learnt: float) -> None:
    """The baseline was 0.01 seconds; at the limit latency was 0.015, and in the probe what is given."""
    windows = Windows()
    windows.feed(0.01, 10, felt=False)
    windows.until_probe(0.015, 100)
    probing = windows.limit.limit
    windows.feed(latency, in_flight)
    assert windows.limit.baseline == pytest.approx(learnt)
    assert windows.limit.limit * 0.75 > probing  # the probe is over


def test_at_the_minimum_latency_is_the_services_own() -> None:
    """A limit that cannot go lower cannot find out more, and is not what the calls queue for."""
    windows = Windows(initial=5)
    windows.feed(0.01, 1, felt=False)
    for _ in range(30):
        windows.feed(0.1, 5)
    assert windows.limit.baseline == pytest.approx(0.1)


def test_it_rises_to_its_maximum_and_falls_to_its_minimum() -> None:
    """And no further."""
    limit = GradientLimit(initial=20, minimum=5, maximum=100)
    now = 1.0
    for count, bound in ((limit.answered, 100), (limit.dropped, 5)):
        for _ in range(10_000):
            now += 1.0
            count(now, now - 0.01, limit.limit)
            assert 5 <= limit.limit <= 100
        assert limit.limit == bound


def test_calls_begun_under_another_limit_do_not_count() -> None:
    """What queued before a change says nothing of the limit after it."""
    limit = GradientLimit(initial=20, minimum=5, maximum=100)
    for number in range(1, 101):
        limit.answered(float(number), number - 0.01, 20)
    changed = limit.limit
    assert changed != 20
    for number in range(200):
        assert not limit.answered(100.0 + number, 99.0, 20)
    assert limit.limit == changed


@settings(max_examples=100, deadline=None)
@given(
    minimum=st.integers(1, 20),
    above=st.integers(0, 50),
    further=st.integers(0, 500),
    calls=st.lists(
        st.tuples(st.sampled_from(["answered", "dropped"]), st.floats(0, 10), st.floats(0, 100), st.integers(1, 600)),
        max_size=15,
    ),
)
def test_it_keeps_within_its_bounds(
    minimum: int, above: int, further: int, calls: list[tuple[str, float, float, int]]
) -> None:
    """Whatever calls report, the limit is from the minimum to the maximum, and the baseline no negative time."""
    maximum = minimum + above + further
    limit = GradientLimit(initial=minimum + above, minimum=minimum, maximum=maximum)
    now = 1.0
    for kind, passed, latency, in_flight in calls:
        for _ in range(110):
            now += passed / 100
            getattr(limit, kind)(now, max(0.0, now - latency), in_flight)
            assert minimum <= limit.limit <= maximum
    assert limit.baseline is None or limit.baseline >= 0
