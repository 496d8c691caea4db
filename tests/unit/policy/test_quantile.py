"""Sliding quantiles against sorted lists."""

import math

from hypothesis import given
from hypothesis import strategies as st

from carrick.policy.quantile import SlidingQuantile


@given(st.lists(st.floats(1e-4, 100.0), min_size=1, max_size=200), st.sampled_from([0.5, 0.9, 0.95, 0.99]))
def test_the_quantile_is_at_most_five_percent_too_high(times: list[float], quantile: float) -> None:
    """And never too low: a wait for it is not cut short."""
    sliding = SlidingQuantile(10.0, quantile)
    for time in times:
        sliding.add(5.0, time)
    exact = sorted(times)[math.ceil(quantile * len(times)) - 1]
    found = sliding.value(5.0, 1)
    assert found is not None
    assert exact * 0.999 <= found <= exact * 1.051


def test_nothing_is_known_before_there_are_enough_times() -> None:
    """Nor after they have left the window."""
    sliding = SlidingQuantile(10.0, 0.5)
    for number in range(4):
        assert sliding.value(number, 4) is None
        sliding.add(number, 0.1)
    assert sliding.value(4.0, 4) is not None
    assert sliding.value(20.0, 4) is None


def test_times_out_of_all_bounds_are_counted_at_the_ends() -> None:
    """Nothing and for ever are times too."""
    sliding = SlidingQuantile(10.0, 0.5)
    sliding.add(1.0, 0.0)
    assert sliding.value(1.0, 1) == 1e-5
    for _ in range(3):
        sliding.add(2.0, 1e9)
    found = sliding.value(2.0, 1)
    assert found is not None
    assert found > 2900


def test_the_quantile_is_remembered_for_a_hundredth_of_the_window() -> None:
    """Looking for it is not paid for by every call."""
    sliding = SlidingQuantile(10.0, 0.5)
    sliding.add(1.0, 0.1)
    before = sliding.value(1.0, 1)
    for _ in range(9):
        sliding.add(1.0, 5.0)
    assert sliding.value(1.09, 1) == before
    assert sliding.value(1.1, 1) != before
