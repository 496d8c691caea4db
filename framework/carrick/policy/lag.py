"""How late the event loop is: what a process cannot do in time shows here first, whatever it is busy with."""

from carrick.clock import Clock

__all__ = ["INTERVAL", "LoopLag", "sample"]

INTERVAL = 0.05
"""Seconds between two samples."""

_MEMORY = 1.0


class LoopLag:
    """The largest lag of late, in seconds. Pure: time comes in with each call.

    A lag counts for less the older it is, and for nothing after a second. A sample that is overdue counts already: the
    calls that wait behind a blocked loop are told of it, though its sample has not been taken yet.
    """

    __slots__ = ("_at", "_due", "_peak")

    def __init__(self) -> None:
        self._peak = 0.0
        self._at = 0.0
        self._due: float | None = None

    def expect(self, due: float) -> None:
        """Say when the next sample is to be taken."""
        self._due = due

    def sampled(self, now: float) -> None:
        """Take the sample that was due."""
        if self._due is not None and now - self._due >= self._remembered(now):
            self._peak, self._at = now - self._due, now
        self._due = None

    def stop(self) -> None:
        """Expect no more samples."""
        self._due = None

    def lag(self, now: float) -> float:
        """Return how late the loop is, or lately was."""
        due = self._due
        overdue = now - due if due is not None and now > due else 0.0
        return max(self._remembered(now), overdue)

    def _remembered(self, now: float) -> float:
        return self._peak * (1 - (now - self._at) / _MEMORY)


async def sample(lag: LoopLag, clock: Clock) -> None:
    """Take samples until cancelled."""
    try:
        while True:
            lag.expect(clock.monotonic() + INTERVAL)
            await clock.sleep(INTERVAL)
            lag.sampled(clock.monotonic())
    finally:
        lag.stop()
