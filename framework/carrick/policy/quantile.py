"""A quantile of what was measured lately."""

import math
from itertools import accumulate

from carrick.policy.window import SlidingCounts

__all__ = ["SlidingQuantile"]

_SHORTEST = 1e-5
_GROWTH = 1.05
_SCALE = 1 / math.log(_GROWTH)
_BUCKETS = 400


class SlidingQuantile:
    """Quantiles of times in a sliding window, at most 5 % too high. Pure; times are seconds, from 10 µs to 49 minutes.

    Counts in buckets whose bounds grow by 5 %, as HDR histograms and DDSketch do. A quantile is looked for at most once
    in a hundredth of the window, and remembered.
    """

    def __init__(self, window: float, quantile: float) -> None:
        self._counts = SlidingCounts(window, _BUCKETS + 1)
        self._quantile = quantile
        self._pause = window / 100
        self._looked = -math.inf
        self._found: float | None = None

    def add(self, now: float, seconds: float) -> None:
        """Count one time."""
        bucket = int(math.log(seconds / _SHORTEST) * _SCALE) + 1 if seconds > _SHORTEST else 0
        self._counts.add(now, min(bucket, _BUCKETS))

    def value(self, now: float, min_calls: int) -> float | None:
        """Return the quantile, or None with fewer times in the window than ``min_calls``."""
        if now - self._looked >= self._pause:
            self._looked = now
            self._found = self._find(now, min_calls)
        return self._found

    def _find(self, now: float, min_calls: int) -> float | None:
        totals = self._counts.totals(now)
        calls = sum(totals)
        if calls < min_calls:
            return None
        bucket = next(index for index, seen in enumerate(accumulate(totals)) if seen >= self._quantile * calls)
        return float(_SHORTEST * _GROWTH**bucket)
