import pytest

from carrick import Code, Context, DeadlineError
from carrick.policy.deadline import effective_deadline, refuse_expired
from carrick.service import stack
from carrick.testing import FakeClock
from tests.unit.calls import PLAIN, REPLY, REQUEST, Scripted, first_attempt


@pytest.mark.parametrize(
    ("timeout", "inherited", "expected"),
    [(None, None, None), (2.0, None, 102.0), (None, 105.0, 105.0), (2.0, 105.0, 102.0), (9.0, 105.0, 105.0)],
)
def test_the_earlier_deadline_wins(timeout: float | None, inherited: float | None, expected: float | None) -> None:
    """A call ends with its own timeout or with what it was made for, whichever comes first."""
    assert effective_deadline(100.0, timeout, inherited) == expected


@pytest.mark.parametrize("deadline", [None, 100.001])
async def test_work_in_time_is_begun(deadline: float | None) -> None:
    """A call whose deadline is ahead, or that has none, passes."""
    service = stack(Scripted(), refuse_expired(FakeClock(start=100.0)))

    assert await service(REQUEST, first_attempt(deadline=deadline)) == REPLY


@pytest.mark.parametrize("deadline", [100.0, 99.0, 0.0])
async def test_expired_work_is_not_begun(deadline: float) -> None:
    """A call whose deadline has passed, or passes now, is refused without touching the handler."""
    handler = Scripted()
    service = stack(handler, refuse_expired(FakeClock(start=100.0)))
    ctx = first_attempt(deadline=deadline)

    with pytest.raises(DeadlineError, match=r"test\.v1\.Tests/Plain was not begun: its deadline had passed") as caught:
        await service(REQUEST, ctx)

    assert caught.value.code is Code.DEADLINE_EXCEEDED
    assert caught.value.attempt is ctx.attempt
    assert handler.calls == 0


async def test_events_have_deadlines_too() -> None:
    """Without a method the message speaks of the call."""
    with pytest.raises(DeadlineError, match="the call was not begun"):
        await stack(Scripted(), refuse_expired(FakeClock()))(REQUEST, Context(None, deadline=1.0))


def test_the_wall_clock_does_not_matter() -> None:
    """Deadlines are in monotonic time: setting the system's clock changes nothing."""
    clock = FakeClock(start=100.0, epoch=0.0)

    assert Context(PLAIN, deadline=effective_deadline(clock.monotonic(), 1.0, None)).remaining(100.0) == 1.0
