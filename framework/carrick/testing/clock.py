"""A clock that stands still until a test moves it."""

import asyncio
import heapq
import itertools

__all__ = ["FakeClock"]


class FakeClock:
    """Time moves by :meth:`advance` only; or, with ``autojump``, by every sleep at once to the sleep's end.

    ``slept`` lists the seconds of all sleeps so far.
    """

    def __init__(self, *, start: float = 1000.0, epoch: float = 1_700_000_000.0, autojump: bool = False) -> None:
        self._now = start
        self._offset = epoch - start
        self._autojump = autojump
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._order = itertools.count()
        self.slept: list[float] = []

    def monotonic(self) -> float:
        """Return the fake time."""
        return self._now

    def wall(self) -> float:
        """Return the fake seconds since the epoch."""
        return self._now + self._offset

    async def sleep(self, seconds: float) -> None:
        """Wait until the clock was moved far enough."""
        self.slept.append(seconds)
        if self._autojump or seconds <= 0:
            self._now += max(seconds, 0.0)
            await asyncio.sleep(0)
            return
        woken = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._now + seconds, next(self._order), woken))
        await woken

    def advance(self, seconds: float) -> None:
        """Move the time and wake who slept until then; they run when the test awaits something."""
        self._now += seconds
        while self._sleepers and self._sleepers[0][0] <= self._now:
            woken = heapq.heappop(self._sleepers)[2]
            if not woken.done():
                woken.set_result(None)
