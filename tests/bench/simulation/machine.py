"""A simulated machine: one processor, shared evenly among the requests that it works on."""

import asyncio
import heapq
import itertools

__all__ = ["Processor"]


class Processor:
    """Does work at ``speed`` units a second, all jobs under way side by side (processor sharing).

    The more jobs there are, the longer each takes; a job that is cancelled has wasted what was done for it. So a server
    behaves that takes on everything.
    """

    def __init__(self, speed: float = 1.0) -> None:
        self._speed = speed
        self._jobs: list[tuple[float, int, asyncio.Future[None]]] = []
        self._order = itertools.count()
        self._running = 0
        self._done = 0.0
        self._since = 0.0
        self._timer: asyncio.TimerHandle | None = None

    @property
    def running(self) -> int:
        """Jobs under way."""
        return self._running

    def set_speed(self, speed: float) -> None:
        """Go on at another speed."""
        self._catch_up()
        self._speed = speed
        self._plan()

    async def work(self, units: float) -> None:
        """Have some work done."""
        self._catch_up()
        finished = asyncio.get_running_loop().create_future()
        heapq.heappush(self._jobs, (self._done + units, next(self._order), finished))
        self._running += 1
        self._plan()
        try:
            await finished
        finally:
            if finished.cancelled():
                self._catch_up()
                self._running -= 1
                self._plan()

    def _catch_up(self) -> None:
        """Bring what was done for each job up to now."""
        now = asyncio.get_running_loop().time()
        if self._running:
            self._done += (now - self._since) * self._speed / self._running
        self._since = now

    def _plan(self) -> None:
        """Set the timer for the job that is finished next."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._jobs and self._jobs[0][2].cancelled():
            heapq.heappop(self._jobs)
        if self._jobs:
            left = max(self._jobs[0][0] - self._done, 0.0) * self._running / self._speed
            self._timer = asyncio.get_running_loop().call_later(left, self._finish)

    def _finish(self) -> None:
        self._timer = None
        self._catch_up()
        while self._jobs and self._jobs[0][0] <= self._done + 1e-9:
            finished = heapq.heappop(self._jobs)[2]
            if not finished.done():
                finished.set_result(None)
                self._running -= 1
        self._plan()
