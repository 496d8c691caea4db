"""One timer for all calls of a method that wait for their answers."""

from collections import deque
from collections.abc import Callable

from carrick.clock import Clock

__all__ = ["Alarm", "Alarms"]


class Alarm:
    """What is to be done at a time. Take ``late`` away, and nothing is."""

    __slots__ = ("due", "late")

    def __init__(self, due: float, late: Callable[[], None]) -> None:
        self.due = due
        self.late: Callable[[], None] | None = late
        """What to do when the answer is late; None once it is there."""


class Alarms:
    """The alarms of calls, in the order in which these began, with one timer for all of them.

    All wait for about as long, so that the first is late first, and most have their answer by then: a timer of its own
    for each would cost ten times as much. Where the delay has become shorter, a call is late with the one before it.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._alarms: deque[Alarm] = deque()
        self._armed = False

    def set(self, due: float, late: Callable[[], None]) -> Alarm:
        """Have ``late``, which must not raise, called when that time has come, unless it was taken away."""
        alarm = Alarm(due, late)
        self._alarms.append(alarm)
        if not self._armed:
            self._arm(due - self._clock.monotonic())
        return alarm

    def _arm(self, seconds: float) -> None:
        self._armed = True
        self._clock.call_later(max(seconds, 0.0), self._ring)

    def _ring(self) -> None:
        now = self._clock.monotonic()
        while self._alarms and (self._alarms[0].late is None or self._alarms[0].due <= now):
            late = self._alarms.popleft().late
            if late is not None:
                late()
        self._armed = False
        if self._alarms:
            self._arm(self._alarms[0].due - now)
