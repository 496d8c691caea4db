"""Alarms: each rings at its time, all with one timer."""

from carrick.policy.alarms import Alarm, Alarms
from carrick.testing import FakeClock


class Rung:
    """Alarms of a fake clock, and what rang, with the seconds since the beginning."""

    def __init__(self) -> None:
        self.clock = FakeClock(start=0.0)
        self.alarms = Alarms(self.clock)
        self.rung: list[tuple[str, float]] = []

    def set(self, due: float, name: str) -> Alarm:
        """Set one."""
        return self.alarms.set(due, lambda: self.rung.append((name, self.clock.monotonic())))


def test_each_rings_at_its_time_with_one_timer() -> None:
    """The next one's is set when the one before it rings, and none when there are no more."""
    rung = Rung()
    for due, name in ((1.0, "a"), (1.0, "b"), (1.5, "c")):
        rung.set(due, name)
    assert rung.clock.timers == 1
    rung.clock.advance(5.0)
    assert rung.rung == [("a", 1.0), ("b", 1.0), ("c", 1.5)]
    assert rung.clock.timers == 0


def test_one_that_was_taken_away_does_not_ring() -> None:
    """Nor does it hold up the one behind it."""
    rung = Rung()
    first = rung.set(1.0, "a")
    rung.set(2.0, "b")
    first.late = None
    rung.clock.advance(5.0)
    assert rung.rung == [("b", 2.0)]


def test_one_that_is_due_earlier_rings_with_the_one_before_it() -> None:
    """That is what one timer costs when the delay has become shorter."""
    rung = Rung()
    rung.set(2.0, "a")
    rung.set(1.0, "b")
    rung.clock.advance(5.0)
    assert rung.rung == [("a", 2.0), ("b", 2.0)]


def test_one_that_rings_may_set_another() -> None:
    """A hedge that is late has one beside it as well."""
    rung = Rung()

    def late() -> None:
        rung.set(3.0, "a")

    rung.alarms.set(1.0, late)
    rung.clock.advance(2.0)
    assert rung.clock.timers == 1
    rung.clock.advance(2.0)
    assert rung.rung == [("a", 3.0)]
