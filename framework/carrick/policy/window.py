"""Counting what happened lately."""

from collections.abc import Iterable

__all__ = ["LastCounts", "SlidingCounts"]

_SLICES = 10


class SlidingCounts:
    """Counts of several kinds over the last ``window`` seconds, in ten slices: the oldest is dropped as a whole.

    So what is counted is between 90 and 100 % of the window. Pure: time comes in with each call, and never goes back.
    Adding costs the same however much was counted.
    """

    __slots__ = ("_current", "_ends", "_length", "_number", "_slices", "_totals")

    def __init__(self, window: float, kinds: int) -> None:
        self._length = window / _SLICES
        self._slices = [[0] * kinds for _ in range(_SLICES)]
        self._totals = [0] * kinds
        self._number = 0
        self._current = self._slices[0]
        self._ends = 0.0

    def add(self, now: float, kind: int) -> None:
        """Count one of a kind, by its index."""
        if now >= self._ends:
            self._advance(now)
        self._current[kind] += 1
        self._totals[kind] += 1

    def add_each(self, now: float, kinds: Iterable[int]) -> None:
        """Count one of each kind."""
        for kind in kinds:
            self.add(now, kind)

    def totals(self, now: float) -> list[int]:
        """Return the counts of all kinds. The list is the window's own: read it, do not keep it."""
        if now >= self._ends:
            self._advance(now)
        return self._totals

    def clear(self) -> None:
        """Forget everything."""
        for each in (*self._slices, self._totals):
            each[:] = [0] * len(each)

    def _advance(self, now: float) -> None:
        """Drop the slices that have left the window."""
        number = int(now / self._length)
        for passed in range(max(self._number + 1, number - _SLICES + 1), number + 1):
            dropped = self._slices[passed % _SLICES]
            for kind, count in enumerate(dropped):
                self._totals[kind] -= count
                dropped[kind] = 0
        self._number = number
        self._current = self._slices[number % _SLICES]
        self._ends = (number + 1) * self._length


class LastCounts:
    """Counts of several kinds among the last ``size`` times that something was counted, however long ago that was.

    Used like :class:`SlidingCounts`; adding costs the same however many there are.
    """

    __slots__ = ("_next", "_ring", "_totals")

    def __init__(self, size: int, kinds: int) -> None:
        self._ring: list[tuple[int, ...]] = [()] * size
        self._totals = [0] * kinds
        self._next = 0

    def add(self, now: float, kind: int) -> None:
        """Count one of a kind, by its index."""
        self.add_each(now, (kind,))

    def add_each(self, now: float, kinds: tuple[int, ...]) -> None:
        """Count one of each kind, as one time."""
        place, totals = self._next, self._totals
        for kind in self._ring[place]:
            totals[kind] -= 1
        for kind in kinds:
            totals[kind] += 1
        self._ring[place] = kinds
        self._next = place + 1 if place + 1 < len(self._ring) else 0

    def totals(self, now: float) -> list[int]:
        """Return the counts of all kinds. The list is the window's own: read it, do not keep it."""
        return self._totals

    def clear(self) -> None:
        """Forget everything."""
        self._ring = [()] * len(self._ring)
        self._totals[:] = [0] * len(self._totals)
        self._next = 0
