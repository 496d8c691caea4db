"""Counting what happened lately."""

__all__ = ["SlidingCounts"]

_SLICES = 10


class SlidingCounts:
    """Counts of several kinds over the last ``window`` seconds, in ten slices: the oldest is dropped as a whole.

    So what is counted is between 90 and 100 % of the window. Pure: time comes in with each call, and never goes back.
    Adding costs the same however much was counted.
    """

    __slots__ = ("_current", "_length", "_slices", "_totals")

    def __init__(self, window: float, kinds: int) -> None:
        self._length = window / _SLICES
        self._slices = [[0] * kinds for _ in range(_SLICES)]
        self._totals = [0] * kinds
        self._current = 0

    def add(self, now: float, *kinds: int) -> None:
        """Count one of each kind, by its index."""
        number = int(now / self._length)
        if number != self._current:
            self._advance(number)
        current = self._slices[number % _SLICES]
        for kind in kinds:
            current[kind] += 1
            self._totals[kind] += 1

    def totals(self, now: float) -> list[int]:
        """Return the counts of all kinds. The list is the window's own: read it, do not keep it."""
        number = int(now / self._length)
        if number != self._current:
            self._advance(number)
        return self._totals

    def clear(self) -> None:
        """Forget everything."""
        for each in (*self._slices, self._totals):
            each[:] = [0] * len(each)

    def _advance(self, number: int) -> None:
        """Drop the slices that have left the window."""
        for passed in range(max(self._current + 1, number - _SLICES + 1), number + 1):
            dropped = self._slices[passed % _SLICES]
            for kind, count in enumerate(dropped):
                self._totals[kind] -= count
                dropped[kind] = 0
        self._current = number
