"""When an answer is late."""

import pytest

from carrick import HedgeOptions
from carrick.policy.lateness import Lateness


def test_a_fixed_delay_learns_nothing() -> None:
    """However long answers take."""
    lateness = Lateness(HedgeOptions(delay=1.0))
    assert lateness.delay(0.0) == 1.0
    lateness.took(0.0, 5.0)
    assert lateness.delay(5.0) == 1.0


def test_nothing_is_late_while_too_little_is_known() -> None:
    """A quantile takes some calls."""
    lateness = Lateness(HedgeOptions(quantile=0.9, min_calls=2))
    lateness.took(0.0, 0.5)
    assert lateness.delay(1.0) is None
    lateness.took(0.5, 1.0)
    assert lateness.delay(2.0) == pytest.approx(0.51, abs=0.02)


def test_a_loser_counts_for_the_quantile() -> None:
    """Times are taken from failed and cancelled attempts too."""
    options = HedgeOptions(quantile=0.9, min_calls=1)
    lateness = Lateness(options)
    lateness.took(0.5, 1.0)
    delay = lateness.delay(1.0)
    assert delay is not None
    assert 0.5 <= delay < 0.53
