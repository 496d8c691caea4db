"""A clock that stands still until a test moves it."""

import asyncio
import heapq
import itertools
from collections.abc import Callable

__all__ = ["FakeClock"]


class _Timer:
    """What a fake clock will call."""

    def __init__(self, callback: Callable[[], object]) -> None:
        self.callback: Callable[[], object] | None = callback

    def cancel(self) -> None:
        """Leave it."""
        self.callback = None


class FakeClock:
    """Time moves by :meth:`advance` only; or, with ``autojump``, by every sleep at once to the sleep's end.

    ``slept`` lists the seconds of all sleeps so far. Timers are no sleeps: they wait for the time to be moved.
    """

    def __init__(self, *, start: float = 1000.0, epoch: float = 1_700_000_000.0, autojump: bool = False) -> None:
        self._now = start
        self._offset = epoch - start
        self._autojump = autojump
        self._timers: list[tuple[float, int, _Timer]] = []
        self._order = itertools.count()
        self.slept: list[float] = []

    def monotonic(self) -> float:
        """Return the fake time."""
        return self._now

    @property
    def timers(self) -> int:
        """How many sleeps and timers wait for the time to be moved."""
        return sum(timer.callback is not None for _, _, timer in self._timers)

    def wall(self) -> float:
        """Return the fake seconds since the epoch."""
        return self._now + self._offset

    async def sleep(self, seconds: float) -> None:
        """Wait until the clock was moved far enough."""
        self.slept.append(seconds)
        if self._autojump or seconds <= 0:
            self.advance(max(seconds, 0.0))
            await asyncio.sleep(0)
            return
        woken = asyncio.get_running_loop().create_future()
        timer = self.call_later(seconds, lambda: woken.set_result(None))
        try:
            await woken
        finally:
            timer.cancel()

    def call_later(self, seconds: float, callback: Callable[[], object]) -> _Timer:
        """Call something when the clock was moved far enough."""
        timer = _Timer(callback)
        heapq.heappush(self._timers, (self._now + seconds, next(self._order), timer))
        return timer

    def advance(self, seconds: float) -> None:
        """Move the time and wake who slept until then; they run when the test awaits something.

        Timers are called on the way, each at its own time.
        """
        until = self._now + seconds
        while self._timers and self._timers[0][0] <= until:
            due, _, timer = heapq.heappop(self._timers)
            self._now = max(self._now, due)
            callback, timer.callback = timer.callback, None
            if callback is not None:
                callback()
        self._now = max(self._now, until)
