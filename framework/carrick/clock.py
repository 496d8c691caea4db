"""Time, as something that can be handed in and replaced in a test."""

import asyncio
import time
from collections.abc import Callable
from typing import Protocol

__all__ = ["Clock", "SystemClock", "Timer"]


class Timer(Protocol):
    """Something that will be called."""

    def cancel(self) -> None:
        """Leave it. Does nothing when it was called."""
        ...


class Clock(Protocol):
    """A source of time. All values are seconds."""

    def monotonic(self) -> float:
        """Time for measuring and for deadlines: never goes back, has no meaning outside this process."""
        ...

    def wall(self) -> float:
        """Seconds since the Unix epoch: only for what is shown or sent to others, never for a decision."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait. Cancelling ends the wait at once with ``CancelledError``."""
        ...

    def call_later(self, seconds: float, callback: Callable[[], object]) -> Timer:
        """Have the running event loop call something that must not raise, once, unless the timer is cancelled."""
        ...


class SystemClock:
    """The operating system's clocks and asyncio's timer."""

    __slots__ = ()

    monotonic = staticmethod(time.monotonic)
    wall = staticmethod(time.time)
    sleep = staticmethod(asyncio.sleep)

    def call_later(self, seconds: float, callback: Callable[[], object]) -> Timer:
        """Set a timer of the running event loop."""
        return asyncio.get_running_loop().call_later(seconds, callback)
