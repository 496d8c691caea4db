"""How late the event loop is."""

import asyncio

import pytest

from carrick.policy.lag import INTERVAL, LoopLag, sample
from carrick.testing import FakeClock


def test_a_loop_that_is_in_time_has_no_lag() -> None:
    """Before the first sample, while one is awaited, and after one on the dot."""
    lag = LoopLag()
    assert lag.lag(10.0) == 0.0
    lag.expect(10.05)
    assert lag.lag(10.04) == 0.0
    lag.sampled(10.05)
    assert lag.lag(10.06) == 0.0


def test_a_late_sample_is_a_lag_that_fades() -> None:
    """It counts for half after half a second, and for nothing after a second."""
    lag = LoopLag()
    lag.expect(10.0)
    lag.sampled(10.4)
    assert lag.lag(10.4) == pytest.approx(0.4)
    assert lag.lag(10.9) == pytest.approx(0.2)
    assert lag.lag(11.4) == 0.0
    assert lag.lag(99.0) == 0.0


def test_a_small_lag_does_not_hide_a_large_one() -> None:
    """The largest of late counts, faded; a larger one takes its place at once."""
    lag = LoopLag()
    for due, taken in ((10.0, 10.4), (10.5, 10.51)):
        lag.expect(due)
        lag.sampled(taken)
    assert lag.lag(10.51) == pytest.approx(0.4 * 0.89)
    lag.expect(10.6)
    lag.sampled(11.2)
    assert lag.lag(11.2) == pytest.approx(0.6)


def test_a_lag_is_forgotten_however_often_it_is_looked_at() -> None:
    """Samples that are in time do not make the memory of a large lag last longer."""
    lag = LoopLag()
    lag.expect(10.0)
    lag.sampled(70.0)
    for hundredth in range(1, 100):
        lag.expect(70.0 + hundredth / 100)
        lag.sampled(70.0 + hundredth / 100)
    assert lag.lag(71.0) == 0.0


def test_a_sample_that_is_overdue_counts_already() -> None:
    """Calls that were waiting behind a blocked loop see its lag, though they come before the sample."""
    lag = LoopLag()
    lag.expect(10.0)
    assert lag.lag(10.3) == pytest.approx(0.3)
    lag.stop()
    assert lag.lag(10.3) == 0.0


def test_a_sample_nobody_expected_is_none() -> None:
    """After a stop."""
    lag = LoopLag()
    lag.sampled(10.0)
    assert lag.lag(10.0) == 0.0


async def test_sampling() -> None:
    """The sampler sleeps for an interval again and again, and notes by how much each sleep was too long."""
    clock, lag = FakeClock(), LoopLag()
    sampler = asyncio.create_task(sample(lag, clock))
    for late in (0.0, 0.3):
        await asyncio.sleep(0)
        clock.advance(INTERVAL + late)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert lag.lag(clock.monotonic()) == pytest.approx(late)
    sampler.cancel()
    await asyncio.wait((sampler,))
    assert sampler.cancelled()
    clock.advance(10.0)
    assert lag.lag(clock.monotonic()) == 0.0
