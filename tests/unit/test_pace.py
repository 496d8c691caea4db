"""So many a second."""

from carrick.pace import Pace
from carrick.testing import FakeClock


async def test_what_is_early_waits() -> None:
    """The first passes at once, the others one after the other."""
    clock = FakeClock(autojump=True)
    began, pace = clock.monotonic(), Pace(10.0, clock)
    passed = []
    for _ in range(4):
        await pace.wait()
        passed.append(round(clock.monotonic() - began, 6))
    assert passed == [0.0, 0.1, 0.2, 0.3]


async def test_what_was_late_is_not_made_up_for() -> None:
    """After a long rest there is no burst."""
    clock = FakeClock(autojump=True)
    pace = Pace(10.0, clock)
    clock.advance(60.0)
    began = clock.monotonic()
    for _ in range(4):
        await pace.wait()
    assert round(clock.monotonic() - began, 6) == 0.2


async def test_without_a_rate_everything_passes() -> None:
    """Nobody waits."""
    clock = FakeClock(autojump=True)
    began, pace = clock.monotonic(), Pace(0.0, clock)
    for _ in range(100):
        await pace.wait()
    assert clock.monotonic() == began
