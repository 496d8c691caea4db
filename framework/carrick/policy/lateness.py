"""When an answer is late."""

from carrick.options import HedgeOptions
from carrick.policy.quantile import SlidingQuantile

__all__ = ["Lateness"]


class Lateness:
    """When an answer is late: after a fixed time, or later than a share of the latest answers. Pure."""

    def __init__(self, options: HedgeOptions) -> None:
        self._fixed = options.delay
        self._min_calls = options.min_calls
        self._times = SlidingQuantile(options.window, options.quantile)

    def delay(self, now: float) -> float | None:
        """Return the seconds to wait for an answer before a hedge, or None while too little is known."""
        return self._fixed if self._fixed is not None else self._times.value(now, self._min_calls)

    def took(self, begun: float, ended: float) -> None:
        """Note when an attempt began and ended, also one that failed or was cancelled for another's answer.

        Leaving those out would make answers seem faster the more calls are hedged.
        """
        if self._fixed is None:
            self._times.add(ended, ended - begun)
