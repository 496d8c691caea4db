"""So many a second, and no more."""

from carrick.clock import Clock, SystemClock

__all__ = ["Pace"]

_MADE_UP = 0.1  # seconds


class Pace:
    """Lets ``rate`` a second pass, or all at once with 0. Of what was late a tenth of a second is made up for."""

    def __init__(self, rate: float, clock: Clock | None = None) -> None:
        self._apart = 1.0 / rate if rate else 0.0
        self._clock = clock or SystemClock()
        self._next = self._clock.monotonic()

    async def wait(self) -> None:
        """Return when the next may pass."""
        now = self._clock.monotonic()
        self._next = max(self._next, now - _MADE_UP)
        if self._next > now:
            await self._clock.sleep(self._next - now)
        self._next += self._apart
